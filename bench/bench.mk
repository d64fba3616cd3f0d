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

$(BENCH)/raw_echo: $(TOOLS)/raw_echo.c $(TOOLS)/wsload.c
	@mkdir -p $(BENCH)
	$(MAKE) -s -C $(TOOLS) B=$(BENCH)
