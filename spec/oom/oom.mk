# Failing memory; see doc/testing.md. Included by the Makefile.

OOM_SCENES  = start handshake connect echo fragmented compressed broadcast close
OOM_WRAPPED = malloc calloc realloc free strdup strndup deflateInit2_ inflateInit2_

oom: ## every allocation fails in turn, in scenes of spec/oom, under ASan and LSan
	@tools/setup test
	@$(SANITIZED_MAKE) build/asan/oom
	@printf '%s\n' $(OOM_SCENES) | ASAN_OPTIONS=detect_leaks=1 \
	 LSAN_OPTIONS=print_suppressions=0:suppressions=tools/lsan.supp \
	 WEFT_NO_IO_URING=1 xargs -n 1 -P 2 build/asan/oom

$(BUILD)/oom: spec/oom/oom.c $(OBJECTS) $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "cc   $<"
	$(Q)$(COMPILE) -o $@ $< $(OBJECTS) $(LDFLAGS) $(OOM_WRAPPED:%=-Wl,--wrap=%) $(LIBS) \
	 $(shell pkg-config --libs $(LUA_PKG))

-include $(BUILD)/oom.d

.PHONY: oom
