# weft: build, test, check, install. `make help` lists the targets.
#
# CC, CFLAGS, LDFLAGS, BUILD, LUA and LUA_PKG may be given on the command line; what
# the build cannot do without is added to them, never taken from them.

CC      ?= cc
CFLAGS  ?= -O2 -g
BUILD   ?= build
LUA     ?= lua5.4
LUA_PKG ?= lua5.4
LUA_V   ?= 5.4
PREFIX  ?= /usr/local
PORT    ?= 8080
Q       ?= @# make Q= shows the compiler's command lines
SPECS   ?= $(sort $(shell find spec -name node_modules -prune -o -name '*_spec.lua' -print))

WARNINGS = -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla \
           -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef
# pkg-config may come only with tools/setup, so it is asked when something is compiled.
LUA_INC  = $(shell pkg-config --cflags $(LUA_PKG))
COMPILE  = $(CC) $(CPPFLAGS) -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(WARNINGS) \
           -Isrc $(LUA_INC) $(CFLAGS) -MMD -MP
LIBS     = -lev -lssl -lcrypto -lz -lpthread

SOURCES   := $(sort $(wildcard src/*/*.c))
OBJECTS   := $(SOURCES:src/%.c=$(BUILD)/obj/%.o)
CORE      := $(filter $(BUILD)/obj/core/%,$(OBJECTS))
MODULE    := $(BUILD)/lib/weft/core.so
C_TESTS   := $(patsubst spec/core/%.c,$(BUILD)/spec/%,$(sort $(wildcard spec/core/test_*.c)))
LUA_FILES := $(sort $(shell find lua -name '*.lua'))
WEB_FILES := $(sort $(wildcard lua/weft/browser/*))
FORMATTED := $(sort $(wildcard src/*/*.[ch] spec/core/*.[ch] spec/fuzz/*.[ch] spec/oom/*.c))

# What no sanitizer and no collector can change is left out of their runs.
OWN_SPECS  = $(filter-out spec/packaging_spec.lua,$(SPECS))

# What tests, examples and benchmarks need to find this checkout's weft.
ABS_BUILD = $(abspath $(BUILD))
RUN_ENV   = LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;;" \
            LUA_CPATH="$(ABS_BUILD)/lib/?.so;;"
TEST_ENV  = $(RUN_ENV) no_proxy="*" WEFT_BUILD="$(ABS_BUILD)" LUA="$(LUA)"

all: lib ## build the module: build/lib/weft/core.so
lib: $(MODULE)

# --- build -------------------------------------------------------------------------

$(MODULE): $(OBJECTS) $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "link $@"
	$(Q)$(CC) -shared $(CFLAGS) -o $@ $(OBJECTS) $(LDFLAGS) $(LIBS)

$(BUILD)/obj/%.o: src/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "cc   $<"
	$(Q)$(COMPILE) -c -o $@ $<

$(BUILD)/spec/%: spec/core/%.c $(CORE) $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "cc   $<"
	$(Q)$(COMPILE) -Ispec/core -o $@ $< $(CORE) $(LDFLAGS) -lcrypto -lz

# Changes when a flag or the list of sources does, so that what depends on it is redone.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(COMPILE) $(LDFLAGS) $(LIBS) $(SOURCES))' | cmp -s - $@ || \
	 echo '$(subst ','\'',$(COMPILE) $(LDFLAGS) $(LIBS) $(SOURCES))' > $@

-include $(OBJECTS:.o=.d) $(C_TESTS:=.d)

# --- run and test ------------------------------------------------------------------

demo: ## the chat at http://localhost:8080/ (PORT=n for another), until Ctrl-C
	@tools/setup build
	@$(MAKE) --no-print-directory lib
	@trap : INT TERM; $(RUN_ENV) $(LUA) examples/chat.lua $(PORT); \
	 code=$$?; test $$code -eq 130 || test $$code -eq 143 || exit $$code

test: ## everything: C unit tests, specs, foreign peers, browser (SPECS=... for some)
	@tools/setup test
	@$(MAKE) --no-print-directory lib c-tests
	@$(TEST_ENV) tools/run-tests $(C_TESTS) $(SPECS)

c-tests: $(C_TESTS)

# gcc's sanitizers, in a build of their own. lua5.4 itself is not instrumented, so their
# libraries are preloaded; nodelete keeps core.so mapped for the leak report's symbols.
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZED_MAKE = $(MAKE) --no-print-directory BUILD=build/asan \
                 LDFLAGS="$(SANITIZE) -Wl,-z,nodelete" \
                 CFLAGS="-O1 -g -fno-omit-frame-pointer $(SANITIZE)"
asan: ## the same tests under AddressSanitizer, LeakSanitizer and UBSan
	@tools/setup test
	@$(SANITIZED_MAKE) lib c-tests run-asan

run-asan:
	@$(TEST_ENV) WEFT_CLEAN_ENV="env -u LD_PRELOAD -u ASAN_OPTIONS -u UBSAN_OPTIONS" \
	 JOBS=$${JOBS:-3} tools/run-tests --sanitized "$(CC)" $(C_TESTS) $(OWN_SPECS)

conformance: ## RFC 6455 and RFC 7692 clause by clause, both roles, as a table
	@tools/setup test
	@$(MAKE) --no-print-directory lib
	@$(TEST_ENV) $(LUA) spec/conformance/weft.lua

# Without those of pages in a browser: the servers that they use have specs of their own.
gc: ## the specs while the collector is at its most aggressive, and without io_uring
	@tools/setup test
	@$(MAKE) --no-print-directory lib
	@$(TEST_ENV) WEFT_HOSTILE_GC=1 WEFT_NO_IO_URING=1 JOBS=$${JOBS:-3} tools/run-tests \
	 $(filter-out spec/browser_%,$(OWN_SPECS))

# --- checks ------------------------------------------------------------------------

check: ## formatting, luacheck, layers, exported symbols, portability, docs, rockspec, examples
	@tools/setup test
	@$(MAKE) --no-print-directory lib
	@$(MAKE) --no-print-directory -k check-format check-lua check-layers check-symbols \
	 check-portable check-docs check-rockspec check-examples && echo "all checks are fine"

check-format:
	$(Q)clang-format --dry-run -Werror $(FORMATTED)

check-lua:
	$(Q)luacheck --no-color -q $(wildcard lua spec examples bench tools/*.lua bin rockspec/*.rockspec) \
	 $(shell grep -l '^.!/usr/bin/env lua' tools/* bin/* 2>/dev/null)

check-layers:
	$(Q)$(LUA) tools/check-layers $(wildcard src/*/*.[ch])

check-symbols: $(MODULE)
	@names=$$(nm -D --defined-only $(MODULE) | awk '{ print $$3 }'); \
	 test "$$names" = luaopen_weft_core || \
	 { echo "$(MODULE) exports more than luaopen_weft_core:" $$names; exit 1; }

# What a BSD or macOS compiles instead of Linux's own ways.
check-portable:
	@for f in $(SOURCES); do \
	 $(COMPILE) -Werror -U__linux__ -fsyntax-only -MF /dev/null $$f || exit 1; done

check-docs: $(MODULE)
	$(Q)$(RUN_ENV) $(LUA) tools/check-docs
	@$(LUA) tools/make-docs lua/weft/meta.lua | diff -u doc/api.md - || \
	 { echo "doc/api.md is not what lua/weft/meta.lua says: run make docs"; exit 1; }

check-rockspec:
	$(Q)$(LUA) tools/check-rockspec rockspec/weft-scm-1.rockspec $(SOURCES) $(LUA_FILES) $(WEB_FILES)

check-examples:
	@wc -l $(wildcard examples/*.lua) | awk '$$2 != "total" && $$1 >= 40 \
	 { print $$2 " has " $$1 " lines; an example has fewer than 40"; bad = 1 } END { exit bad }'

docs: ## write doc/api.md from lua/weft/meta.lua
	$(LUA) tools/make-docs lua/weft/meta.lua > doc/api.md.new && mv doc/api.md.new doc/api.md

format: ## format the C sources in place
	clang-format -i $(FORMATTED)

# --- install -----------------------------------------------------------------------

LIB_DIR   = $(DESTDIR)$(PREFIX)/lib/lua/$(LUA_V)
SHARE_DIR = $(DESTDIR)$(PREFIX)/share/lua/$(LUA_V)
BIN_DIR   = $(DESTDIR)$(PREFIX)/bin

install: lib ## lay weft under PREFIX (/usr/local), below DESTDIR when given
	install -d $(LIB_DIR)/weft $(SHARE_DIR) $(BIN_DIR)
	install -m 755 $(MODULE) $(LIB_DIR)/weft/core.so
	for f in $(LUA_FILES:lua/%=%) $(WEB_FILES:lua/%=%); do install -D -m 644 lua/$$f $(SHARE_DIR)/$$f || exit 1; done
	for f in $(wildcard bin/*); do install -m 755 $$f $(BIN_DIR)/ || exit 1; done

clean: ## remove what was built
	rm -rf build

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile $(wildcard spec/*/*.mk bench/bench.mk tools/*.mk)

-include bench/bench.mk
-include spec/fuzz/fuzz.mk
-include spec/oom/oom.mk
-include tools/measure.mk

.PHONY: all lib demo test c-tests asan run-asan conformance gc check check-format check-lua check-layers \
        check-symbols check-portable check-docs check-rockspec check-examples docs format install clean help FORCE
