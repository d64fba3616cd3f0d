# Coverage and valgrind; see doc/testing.md. Included by the Makefile.

COV = build/cov
cov: ## which lines of C and Lua the tests run; fails below the floors of spec/coverage
	@tools/setup test
	@mkdir -p $(COV) && rm -rf $(COV)/lua && mkdir $(COV)/lua && find $(COV) -name '*.gcda' -delete
	@$(MAKE) --no-print-directory BUILD=$(COV) LDFLAGS="--coverage" \
	 CFLAGS="-O0 -g --coverage -fprofile-update=atomic" lib c-tests run-cov
	@gcovr -r . --object-directory $(COV) -f src/ --json $(COV)/c.json
	@tools/coverage $(COV) spec/coverage

run-cov:
	@$(TEST_ENV) WEFT_SLOW=1 WEFT_COV="$(CURDIR)/$(COV)/lua" tools/run-tests $(C_TESTS) $(OWN_SPECS)

VALGRIND = task channel stream frames handshake close client deflate tls topics
valgrind: ## the main specs under valgrind (VALGRIND="task stream" for some)
	@tools/setup test
	@$(MAKE) --no-print-directory lib
	@$(TEST_ENV) tools/run-tests --valgrind $(VALGRIND:%=spec/%_spec.lua)

.PHONY: cov run-cov valgrind
