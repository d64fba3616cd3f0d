# make bench: weft beside the floor, with the load generator of ../shared/bench.
# TOOLS, SCENARIOS, ROUNDS and SLICE (seconds) may be given on the command line.

TOOLS     ?= ../shared/bench
SCENARIOS ?= echo32,echo32p16,echo16k,echo1mbin,connect,fanout,idle
ROUNDS    ?= 15
SLICE     ?= 0.5
BENCH     := $(abspath $(BUILD))/bench

.PHONY: bench
bench: $(MODULE) $(BENCH)/raw_echo ## compare weft with raw_echo (see bench/README.md)
	$(RUN_ENV) python3 $(TOOLS)/compare.py --wsload $(BENCH)/wsload --base raw_echo --limit whole \
	  raw_echo="$(BENCH)/raw_echo" whole="$(BENCH)/raw_echo --whole" \
	  weft="$(LUA) bench/servers/echo.lua" raw_echo@fanout="$(BENCH)/raw_echo --fanout" \
	  weft@fanout="$(LUA) bench/servers/fanout.lua" \
	  --scenarios $(SCENARIOS) --rounds $(ROUNDS) --seconds $(SLICE)

# Topics: a thousand and ten thousand subscribers, with other topics, with a history; then
# what matching, a subscription and a history cost by themselves.
.PHONY: bench-hub
bench-hub: $(MODULE) $(BENCH)/raw_echo ## compare topics with raw_echo --fanout, and measure them
	$(RUN_ENV) python3 $(TOOLS)/compare.py --wsload $(BENCH)/wsload --base raw_echo --limit weft \
	  raw_echo@fanout="$(BENCH)/raw_echo --fanout" weft@fanout="$(LUA) bench/servers/fanout.lua" \
	  topics@fanout="$(LUA) bench/servers/fanout.lua {port} 10000 1000" \
	  history@fanout="env HISTORY=1000 $(LUA) bench/servers/fanout.lua" \
	  --add "fanout10:msg_s:deliv/s:fanout -c 10 -s 64 -p 1" \
	  --add "fanout10k:msg_s:deliv/s:fanout -c 10000 -s 64 -p 1" \
	  --scenarios fanout,fanoutp16,fanout10,fanout10k --rounds $(ROUNDS) --seconds $(SLICE)
	$(RUN_ENV) $(LUA) bench/hub.lua

# TLS: a certificate of its own; its key's kind may be given.
TLS_KEY ?= rsa:2048

.PHONY: bench-tls
bench-tls: $(MODULE) $(BENCH)/raw_echo $(BENCH)/tls_echo $(BENCH)/tls_load ## compare wss with tls_echo
	openssl req -x509 -newkey $(TLS_KEY) -nodes -days 2 -subj /CN=localhost \
	  -keyout $(BENCH)/tls.key -out $(BENCH)/tls.pem 2>$(BENCH)/tls.log
	$(RUN_ENV) BENCH_BIN=$(BENCH) LUA=$(LUA) python3 bench/tls_compare.py \
	  $(BENCH)/tls.pem $(BENCH)/tls.key $(ROUNDS) $(SLICE)

$(BENCH)/tls_%: bench/tls_%.c
	@mkdir -p $(BENCH)
	$(CC) -O2 -g -std=c11 -D_GNU_SOURCE -Wall -Wextra -o $@ $< -lssl -lcrypto

$(BENCH)/raw_echo: $(TOOLS)/raw_echo.c $(TOOLS)/wsload.c
	@mkdir -p $(BENCH)
	$(MAKE) -s -C $(TOOLS) B=$(BENCH)

.PHONY: bench-micro
bench-micro: $(BENCH)/micro ## parts of the core beside zlib, memcpy and byte loops
	$(BENCH)/micro

.PHONY: bench-deflate
bench-deflate: $(MODULE) $(BENCH)/micro ## what permessage-deflate costs, in time and memory
	$(RUN_ENV) LUA=$(LUA) python3 bench/deflate_compare.py $(BENCH)/micro $(ROUNDS) $(SLICE)

$(BENCH)/micro: bench/micro.c $(CORE) $(BUILD)/flags
	@mkdir -p $(BENCH)
	$(Q)$(COMPILE) -o $@ $< $(CORE) $(LDFLAGS) -lcrypto -lz
