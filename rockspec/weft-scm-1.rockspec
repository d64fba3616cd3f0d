rockspec_format = "3.0"
package = "weft"
version = "scm-1"

source = {
   url = "git+file://.",
}

description = {
   summary = "WebSocket servers and clients as short coroutine scripts, on libev",
   detailed = [[
      A C core does the sockets, the accept loop and WebSocket framing; a thin Lua layer
      lets servers and clients be written as coroutines, without a callback.
   ]],
   license = "MIT",
   labels = { "websocket", "network", "coroutine", "libev", "server" },
}

dependencies = {
   "lua >= 5.4, < 5.6",
}

external_dependencies = {
   LIBEV = { header = "ev.h", library = "ev" },
   OPENSSL = { header = "openssl/ssl.h", library = "ssl" },
   ZLIB = { header = "zlib.h", library = "z" },
}

build = {
   type = "builtin",
   modules = {
      ["weft.core"] = {
         sources = {
            "src/bind/coding.c",
            "src/bind/handshake.c",
            "src/bind/http.c",
            "src/bind/hub.c",
            "src/bind/message.c",
            "src/bind/reads.c",
            "src/bind/resolve.c",
            "src/bind/run.c",
            "src/bind/socket.c",
            "src/bind/state.c",
            "src/bind/stream.c",
            "src/bind/system.c",
            "src/bind/task.c",
            "src/bind/task_end.c",
            "src/bind/task_lua.c",
            "src/bind/tcp.c",
            "src/bind/tls.c",
            "src/bind/waits.c",
            "src/bind/websocket.c",
            "src/bind/ws_options.c",
            "src/core/buffer.c",
            "src/core/coding.c",
            "src/core/frame.c",
            "src/core/handshake.c",
            "src/core/head.c",
            "src/core/mask.c",
            "src/core/outq.c",
            "src/core/session.c",
            "src/core/url.c",
            "src/core/utf8.c",
            "src/io/address.c",
            "src/io/batch.c",
            "src/io/crypto.c",
            "src/io/hub.c",
            "src/io/idle.c",
            "src/io/listener.c",
            "src/io/loop.c",
            "src/io/resolve.c",
            "src/io/signal.c",
            "src/io/stream.c",
            "src/io/timer.c",
            "src/io/tls.c",
            "src/io/tls_context.c",
            "src/io/tls_text.c",
            "src/io/transport.c",
            "src/io/turn.c",
            "src/io/ws.c",
         },
         defines = { "_GNU_SOURCE" },
         incdirs = { "src", "$(LIBEV_INCDIR)", "$(OPENSSL_INCDIR)", "$(ZLIB_INCDIR)" },
         libdirs = { "$(LIBEV_LIBDIR)", "$(OPENSSL_LIBDIR)", "$(ZLIB_LIBDIR)" },
         libraries = { "ev", "ssl", "crypto", "z", "pthread" },
      },
      ["weft.app"] = "lua/weft/app.lua",
      ["weft.body"] = "lua/weft/body.lua",
      ["weft.channel"] = "lua/weft/channel.lua",
      ["weft.client"] = "lua/weft/client.lua",
      ["weft.date"] = "lua/weft/date.lua",
      ["weft.group"] = "lua/weft/group.lua",
      weft = "lua/weft/init.lua",
      ["weft.http"] = "lua/weft/http.lua",
      ["weft.http.answer"] = "lua/weft/http/answer.lua",
      ["weft.http.exchange"] = "lua/weft/http/exchange.lua",
      ["weft.http.pool"] = "lua/weft/http/pool.lua",
      ["weft.http.sender"] = "lua/weft/http/sender.lua",
      ["weft.limits"] = "lua/weft/limits.lua",
      ["weft.meta"] = "lua/weft/meta.lua",
      ["weft.mime"] = "lua/weft/mime.lua",
      ["weft.net"] = "lua/weft/net.lua",
      ["weft.options"] = "lua/weft/options.lua",
      ["weft.origin"] = "lua/weft/origin.lua",
      ["weft.reconnect"] = "lua/weft/reconnect.lua",
      ["weft.request"] = "lua/weft/request.lua",
      ["weft.response"] = "lua/weft/response.lua",
      ["weft.router"] = "lua/weft/router.lua",
      ["weft.server"] = "lua/weft/server.lua",
      ["weft.socket"] = "lua/weft/socket.lua",
      ["weft.socket.dns"] = "lua/weft/socket/dns.lua",
      ["weft.socket.errors"] = "lua/weft/socket/errors.lua",
      ["weft.socket.flow"] = "lua/weft/socket/flow.lua",
      ["weft.socket.nested"] = "lua/weft/socket/nested.lua",
      ["weft.socket.object"] = "lua/weft/socket/object.lua",
      ["weft.socket.select"] = "lua/weft/socket/select.lua",
      ["weft.socket.tcp"] = "lua/weft/socket/tcp.lua",
      ["weft.static"] = "lua/weft/static.lua",
      ["weft.tls"] = "lua/weft/tls.lua",
      ["weft.upgrade"] = "lua/weft/upgrade.lua",
      ["weft.url"] = "lua/weft/url.lua",
   },
}
