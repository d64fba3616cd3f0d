# Fuzzing, by clang's libFuzzer; see doc/testing.md. Included by the Makefile.

FUZZ_CC      ?= clang
FUZZ_TARGETS := $(patsubst spec/fuzz/fuzz_%.c,%,$(sort $(wildcard spec/fuzz/fuzz_*.c)))
FUZZ_FLAGS    = -Wno-cast-qual -O2 -g -fno-omit-frame-pointer -fno-sanitize-recover=all \
                -fsanitize=address,undefined
# A target's own comparisons teach the fuzzer nothing.
FUZZ_LINK     = -fsanitize=fuzzer -fno-sanitize-coverage=trace-cmp
T            ?= session
SECS         ?= 60

fuzz: fuzz-build ## fuzz one target: T=session SECS=60
	@tools/fuzz run $(T) $(SECS)

fuzz-replay: fuzz-build ## run all inputs of spec/fuzz/corpus once
	@tools/fuzz replay $(FUZZ_TARGETS)

fuzz-all: fuzz-build ## fuzz every target for SECS=60, three at a time
	@tools/fuzz all $(SECS) $(FUZZ_TARGETS)

fuzz-build:
	@tools/setup test
	@$(MAKE) -s BUILD=build/fuzz CC=$(FUZZ_CC) \
	 CFLAGS="$(FUZZ_FLAGS) -fsanitize=fuzzer-no-link" \
	 $(FUZZ_TARGETS:%=build/fuzz/fuzz_%)

$(BUILD)/fuzz_%: spec/fuzz/fuzz_%.c $(CORE) $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "cc   $<"
	$(Q)$(COMPILE) $(FUZZ_LINK) -Ispec/core -o $@ $< $(CORE) $(LDFLAGS) -lcrypto -lz

# src/io whole, on a system that the target itself plays: see kernel.h.
MOCKED = recv send sendmsg shutdown close connect getsockopt setsockopt accept4 \
         clock_gettime RAND_bytes wf_batch_new wf_batch_free wf_batch_run
IO    := $(filter $(BUILD)/obj/io/%,$(OBJECTS))

$(BUILD)/fuzz_connection: spec/fuzz/fuzz_connection.c $(CORE) $(IO) $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "cc   $<"
	$(Q)$(COMPILE) $(FUZZ_LINK) -Ispec/core -o $@ $< $(CORE) $(IO) $(LDFLAGS) \
	 $(MOCKED:%=-Wl,--wrap=%) $(filter-out -lev,$(LIBS)) -lm

-include $(wildcard $(BUILD)/fuzz_*.d)

.PHONY: fuzz fuzz-replay fuzz-all fuzz-build
