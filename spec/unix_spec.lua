local lfs = require "lfs"
local process = require "spec.process"
local server = require "spec.helper_server"
local weft = require "weft"

local run, keep = server.run, server.keep

-- Paths of this process's own, in a directory that is gone afterwards.
local dir = os.tmpname()
os.remove(dir)

local function path(name) return dir .. "/" .. name end

local function mode_of(file) return lfs.attributes(file, "mode") end

local function write(file, text)
   local out <close> = assert(io.open(file, "w"))
   out:write(text or "")
end

local function echo(listener)
   return weft.spawn(function()
      for peer in listener:each() do
         weft.spawn(function()
            local one <close> = peer
            for line in function() return (one:receive "*l") end do one:send(line .. "\n") end
         end)
      end
   end)
end

local function expect_echo(address)
   local stream <close> = assert(weft.dial(address))
   assert(stream:send "hello\n")
   assert.equal("hello", stream:receive "*l")
end

local function expect_failure(code, pattern, result, message, got)
   assert.is_nil(result)
   assert.equal(code, got, message)
   assert.truthy(message:find(pattern, 1, true), message)
end

-- A socket file that a dead process left.
local function leave_stale(file)
   local child = process.start({ "python3", "-c", [[
import socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()]], file }, { foreign = true })
   assert.same({ "", 0 }, { child:finish() })
   assert.equal("socket", mode_of(file))
end

describe("unix sockets", function()
   setup(function() assert(lfs.mkdir(dir)) end)
   teardown(function()
      for name in lfs.dir(dir) do os.remove(path(name)) end
      os.remove(dir)
   end)

   it("connect weft.dial and weft.listen, and are gone when closed", function()
      run(function()
         local file = path "meet"
         local listener = keep(assert(weft.listen("unix:" .. file)))
         echo(listener)
         assert.same({ file, 0, "unix" }, { listener:getsockname() })
         assert.equal(("weft.listener (at unix:%s)"):format(file), tostring(listener))
         local stream <close> = assert(weft.dial("unix:" .. file))
         assert.same({ file, 0, "unix" }, { stream:getpeername() })
         assert(stream:send(("x"):rep(200000) .. "\n"))
         assert.equal(200000, #assert(stream:receive "*l"))
         listener:close()
         assert.is_nil(mode_of(file))
      end)
   end)

   it("may have abstract names", function()
      run(function()
         local address = "unix:@weft-spec-" .. dir:match "[^/]*$"
         local listener = keep(assert(weft.listen(address)))
         echo(listener)
         expect_echo(address)
         expect_failure("busy", "somebody listens there", weft.listen(address))
         listener:close()
         expect_failure("refused", "refused", weft.dial(address))
      end)
   end)

   it("have the permissions that are asked for", function()
      run(function()
         for _, mode in ipairs { "600", "0660", "777" } do
            local _ <close> = assert(weft.listen("unix:" .. path "mode", { mode = mode }))
            local permissions = lfs.attributes(path "mode", "permissions")
            local expected = { ["600"] = "rw-------", ["0660"] = "rw-rw----",
               ["777"] = "rwxrwxrwx" }
            assert.equal(expected[mode], permissions)
         end
      end)
   end)

   it("replace a file where nobody listens any more", function()
      run(function()
         local file = path "stale"
         leave_stale(file)
         expect_failure("refused", "refused", weft.dial("unix:" .. file))
         echo(keep(assert(weft.listen("unix:" .. file))))
         expect_echo("unix:" .. file)
      end)
   end)

   it("leave one alone where somebody listens, even if its backlog is full", function()
      run(function()
         local file = path "busy"
         local listener = keep(assert(weft.listen("unix:" .. file, { backlog = 1 })))
         -- as many as the kernel keeps
         for _ = 1, 2 do keep(assert(weft.dial("unix:" .. file))) end
         expect_failure("timeout", "the backlog of", weft.dial("unix:" .. file, { timeout = 0.05 }))
         expect_failure("busy", "somebody listens there", weft.listen("unix:" .. file))
         assert.equal("socket", mode_of(file))
         assert(listener:accept()):close()
         assert(weft.dial("unix:" .. file)):close() -- there is room again
      end)
   end)

   it("never replace a file that is no socket", function()
      run(function()
         local file = path "regular"
         write(file, "precious")
         expect_failure("busy", file, weft.listen("unix:" .. file))
         expect_failure("busy", dir, weft.listen("unix:" .. dir))
         local inside <close> = io.open(file)
         assert.equal("precious", inside:read "a")
         expect_failure("refused", "refused", weft.dial("unix:" .. file))
      end)
   end)

   it("remove nobody else's file", function()
      run(function()
         local file = path "moved"
         local listener = assert(weft.listen("unix:" .. file))
         assert(os.rename(file, path "aside"))
         write(file)
         listener:close()
         assert.equal("file", mode_of(file))
         os.remove(file)
      end)
   end)

   it("say what is wrong with a path", function()
      run(function()
         local long = "unix:/" .. ("x"):rep(108)
         expect_failure("resolve", "longer than the system allows", weft.dial(long))
         expect_failure("resolve", "longer than the system allows", weft.listen(long))
         expect_failure("resolve", "unix:/path or unix:@name", weft.listen "unix:relative")
         expect_failure("resolve", "bad address", weft.dial "unix:/a\0b")
         expect_failure("system", "No such file", weft.dial("unix:" .. path "none"))
         expect_failure("system", "No such file", weft.listen "unix:/no/such/dir/x")
         assert.truthy(weft.listen("unix:/" .. ("x"):rep(40) .. "/x") == nil)
      end)
   end)

   it("know who is at the other end", function()
      run(function()
         local listener = keep(assert(weft.listen("unix:" .. path "who")))
         local stream <close> = assert(weft.dial("unix:" .. path "who"))
         local peer <close> = assert(listener:accept())
         local who, other = assert(peer:peercred()), assert(stream:peercred())
         assert.same(who, other)
         assert.equal("number", type(who.pid))
         assert.equal("number", type(who.uid))
         local tcp = keep(assert(weft.listen "127.0.0.1:0"))
         local _, port = tcp:getsockname()
         local plain <close> = assert(weft.dial("127.0.0.1:" .. port))
         expect_failure("system", "only the peer of a unix socket", plain:peercred())
      end)
   end)

   it("carry WebSockets and HTTP, by URL", function()
      run(function()
         local app = server.app { max_connections_per_ip = 1 }
         app:websocket("/echo", function(ws)
            for message in ws:messages() do ws:send(message .. " " .. ws.request.remote) end
         end)
         app:get("/page", function(req) return 200, nil, req.query .. req:header "host" end)
         app:get("/moved", function() return 302, { location = "/page?a" } end)
         assert.same({ "unix:" .. path "web", 0 }, { assert(app:listen("unix:" .. path "web")) })
         local base = "+unix:" .. path "web"
         for _, slashes in ipairs { "", "//" } do
            local ws <close> = assert(weft.connect("ws+unix:" .. slashes .. path "web" .. ":/echo"))
            ws:send "one"
            assert.equal("one unix:", ws:receive(10))
         end
         assert.equal("q=1localhost", assert(weft.http.get("http" .. base .. ":/page?q=1")).body)
         assert.equal("alocalhost", assert(weft.http.get("http" .. base .. ":/moved")).body)
         local answer = assert(weft.http.get("http" .. base))
         assert.equal(404, answer.status)
         assert.equal("http" .. base .. ":/", answer.url)
         expect_failure("refused", "404", weft.connect("ws" .. base .. ":/none"))
         expect_failure("resolve", "scheme+unix:/path:/resource", weft.connect "ws+unix:x:/y")
         expect_failure("resolve", "the scheme must be", weft.connect("http" .. base .. ":/page"))
         weft.http.close_idle()
      end)
   end)

   it("are not led to by a redirect of another host", function()
      run(function()
         local app = server.app()
         app:get("/", function() return 302, { location = "http+unix:/run/x.sock:/" } end)
         local address = assert(app:listen "127.0.0.1:0")
         expect_failure("refused", 'to the scheme "http+unix"', weft.http.get("http://" .. address))
      end)
   end)

   it("talk with socat, both ways", function()
      local file = path "socat"
      local child = process.start({ "socat", "UNIX-LISTEN:" .. file, "EXEC:cat" },
         { foreign = true })
      run(function()
         local stream
         for _ = 1, 1000 do -- it says nothing when it listens
            stream = weft.dial("unix:" .. file)
            if stream then break end
            weft.sleep(0.01)
         end
         assert(stream:send "through socat\n")
         assert.equal("through socat", stream:receive "*l")
         stream:close()
      end)
      child:stop()
   end)
end)

describe("sockets that were handed over", function()
   local script = os.tmpname()

   setup(function()
      write(script, [[
         local weft = require "weft"
         local app = weft.app {}
         app:get("/", function() return 200, nil, "activated" end)
         local addresses = {}
         for i = 1, #arg do
            local address, message, code = app:listen(arg[i])
            print(arg[i], address, code or message)
            addresses[i] = address
         end
         print(os.getenv "LISTEN_FDS", os.getenv "LISTEN_PID", os.getenv "LISTEN_FDNAMES")
         weft.run(function()
            for _, address in pairs(addresses) do
               local stream = assert(weft.dial((address:gsub("%[::%]", "127.0.0.1"))))
               stream:send "GET / HTTP/1.0\r\n\r\n"
               print(stream:receive "*a":match "activated")
               stream:close()
            end
            app:close()
         end)
      ]])
   end)
   teardown(function() os.remove(script) end)

   -- The script as one command for a foreign program that becomes it.
   local function becoming(...)
      return "sh", "-c", "exec " .. process.command(process.script(script, ...))
   end

   -- Python binds two sockets and becomes the script, as a service manager does.
   local function activate(changes, ...)
      return process.start({ "python3", "-c", [[
import os, socket, sys
socks = []
for i in range(2):
    s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
    socks.append(os.dup(s.fileno()))
for i, fd in enumerate(socks):
    os.dup2(fd, 20 + i)
for i in range(2):
    os.dup2(20 + i, 3 + i)
os.dup2(os.open("/dev/null", 0), 5)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="web:admin")
for change in sys.argv[1].split():
    name, value = change.split("=")
    os.environ[name] = value
os.execvp(sys.argv[2], sys.argv[2:])]], changes, becoming(...) }, { foreign = true })
   end

   it("come by number, in turn and by name, and the variables are gone", function()
      local child = activate("", "systemd:admin", "systemd:", "systemd:")
      assert.truthy(child:wait_for "^systemd:admin\t127%.0%.0%.1:%d+\t%d+$" == child.seen[1])
      child:wait_for "^systemd:\t127%.0%.0%.1:%d+\t%d+$"
      child:wait_for "^systemd:\tnil\tresolve$"
      child:wait_for "^nil\tnil\tnil$"
      child:wait_for "^activated$"
      child:wait_for "^activated$"
      assert.equal(0, select(2, child:finish()))
   end)

   it("are refused when they do not fit", function()
      local child = activate("LISTEN_PID=1", "systemd:", "fd:5", "fd:77", "fd:4", "fd:4")
      child:wait_for "^systemd:\tnil\tresolve$"
      child:wait_for "^fd:5\tnil\tsystem$"
      child:wait_for "^fd:77\tnil\tsystem$"
      child:wait_for "^fd:4\t127%.0%.0%.1:%d+\t%d+$"
      child:wait_for "^fd:4\tnil\tbusy$"
      child:wait_for "^activated$"
      assert.equal(0, select(2, child:finish()))
   end)

   it("come from systemd-socket-activate", function()
      -- it starts the program at the first connection, which the script itself answers
      local file = os.tmpname()
      os.remove(file)
      local child = process.start({ "systemd-socket-activate", "-l", file, "--fdname=web",
         becoming "systemd:web" }, { foreign = true })
      child:wait_for "[Ll]istening on"
      run(function()
         local stream <close> = assert(weft.dial("unix:" .. file))
         assert(stream:send "GET / HTTP/1.0\r\n\r\n")
         assert.truthy((assert(stream:receive "*a")):find "activated$")
      end, 60)
      child:wait_for "^activated$"
      child:finish()
      os.remove(file)
   end)
end)
