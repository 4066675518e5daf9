# One command for each habit. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
JOBS ?= $(shell nproc)
ROUNDS ?= 50
SEEDS ?= 10000
ROUNDS_COMPARE ?= 3
ARM64_TESTS = base protocol remoting store client
FUZZ_SECONDS ?= 60
INTEROP ?= --target both

.PHONY: help
help:  ## This list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps:  ## Install the Debian packages the build needs (skipped when they are there)
	@tools/install-packages build

.PHONY: build
build: deps  ## Build the optimised binary: build/release/apogee
	@cmake --preset release -Wno-dev > /dev/null
	@cmake --build --preset release -j$(JOBS)

.PHONY: run
run: build  ## Start name server and broker, send and receive a first message, keep running until Ctrl-C
	@tools/demo --keep-running

.PHONY: demo
demo: build  ## The same, and end by itself
	@tools/demo

.PHONY: test
test: deps  ## Build and pass all unit and scenario tests
	@cmake --preset dev -Wno-dev > /dev/null
	@cmake --build --preset dev -j$(JOBS)
	@ctest --preset dev -j$(JOBS) --progress

.PHONY: interop
interop: build  ## Foreign clients (Java, Go, Python, mqadmin) against our servers and Apache's, side by side
	@tools/install-packages interop
	@tests/interop/run $(INTEROP)

.PHONY: package-test
package-test: build  ## Install into a temporary prefix; projects outside the tree build with find_package and pkg-config
	@tests/package/run

.PHONY: python-test
python-test: build  ## The Python package against the shared library and a broker
	@python3 -m unittest discover bindings/python/tests

.PHONY: compare-clients
compare-clients: build  ## Benchmark our client against the Java and the Go client on one broker
	@tools/install-packages interop
	@bench/client/run

.PHONY: crash
crash: build  ## kill -9 under load, ROUNDS=50 times: nothing acknowledged may be missing
	@tests/crash/run --rounds $(ROUNDS)

.PHONY: crash-seeds
crash-seeds: deps  ## Brokers and stores on a disk that forgets, SEEDS=10000 of each, optimised: a twentieth of a second each
	@cmake --preset release -Wno-dev > /dev/null
	@cmake --build --preset release -j$(JOBS) --target crash_test store_test
	@APOGEE_SEEDS=$(SEEDS) build/release/testing/store_test --gtest_filter='StoreCrash.*'
	@APOGEE_SEEDS=$(SEEDS) build/release/tests/crash/crash_test

.PHONY: asan
asan: deps  ## All tests under the address and undefined-behaviour sanitizers
	@cmake --preset asan -Wno-dev > /dev/null
	@cmake --build --preset asan -j$(JOBS)
	@ctest --preset asan -j$(JOBS) --progress

.PHONY: tsan
tsan: deps  ## All tests under the thread sanitizer
	@cmake --preset tsan -Wno-dev > /dev/null
	@cmake --build --preset tsan -j$(JOBS)
	@TSAN_OPTIONS=second_deadlock_stack=1 ctest --preset tsan -j$(JOBS) --progress

.PHONY: clang
clang: deps  ## The client library, shared and static, its examples and the C API built by clang 19, without a warning
	@tools/install-packages clang
	@cmake --preset clang -Wno-dev > /dev/null
	@cmake --build --preset clang -j$(JOBS)

.PHONY: arm64
arm64: deps  ## The client, the store and what they stand on for 64-bit ARM, by a cross compiler; their tests run under qemu-user
	@tools/install-packages arm64
	@cmake --preset arm64 -Wno-dev > /dev/null
	@cmake --build --preset arm64 -j$(JOBS) --target $(ARM64_TESTS:%=%_test)
	@for each in $(ARM64_TESTS); do qemu-aarch64 build/arm64/testing/$${each}_test --gtest_brief=1 || exit 1; done

.PHONY: analyse
analyse: deps  ## clang-tidy over everything but the tests, what it finds is an error: some 45 minutes on two cores
	@tools/install-packages analyse
	@cmake --preset analyse -Wno-dev > /dev/null
	@run-clang-tidy-19 -quiet -p build/analyse -j$(JOBS) -warnings-as-errors='*' > build/analyse/report 2> /dev/null || { grep -A4 -E 'warning:|error:' build/analyse/report; exit 1; }

.PHONY: fuzz
fuzz: deps  ## Every fuzz target for FUZZ_SECONDS=60
	@tools/install-packages clang
	@cmake --preset fuzz -Wno-dev > /dev/null
	@cmake --build --preset fuzz -j$(JOBS)
	@tools/fuzz --seconds $(FUZZ_SECONDS)

.PHONY: compare
compare: bench-tools  ## Benchmark against Apache's broker and a null broker in one run: table and plots
	@tools/install-packages interop plots
	@bench/compare --rounds $(ROUNDS_COMPARE) --markdown build/compare.md --plots build/plots --raw build/compare.json

.PHONY: bench-tools
bench-tools: build
	@cmake --preset release -DAPOGEE_BENCH=ON -Wno-dev > /dev/null
	@cmake --build --preset release -j$(JOBS)

.PHONY: scale
scale: build  ## How costs grow: topics, connections, waiting pulls, large bodies, cold reads
	@tools/install-packages plots
	@bench/scale --json build/scale.json --plots build/plots

.PHONY: tail
tail: build  ## The tail of steady sends while files roll, are deleted, are read cold and fill up
	@bench/tail --json build/tail.json

.PHONY: overload
overload: build  ## A broker that has more to do than it can (three of its cases need root)
	@tests/overload/run

.PHONY: micro
micro: bench-tools  ## Micro-benchmarks of the hot paths, and their instruction counts beside the kept ones
	@tools/install-packages counting
	@build/release/bench/micro_bench --benchmark_min_time=0.2
	@bench/instructions

.PHONY: format
format:  ## Format all C++ files
	@tools/install-packages clang
	@git ls-files '*.h' '*.cc' | xargs clang-format-19 -i

.PHONY: lint
lint:  ## Format check, architecture and house rules
	@tools/install-packages clang
	@git ls-files '*.h' '*.cc' | xargs clang-format-19 --dry-run --Werror
	@tools/tidy

.PHONY: docs
docs: build  ## Regenerate the reference pages from the declarations
	@build/release/apogee reference configuration > docs/configuration.md
	@build/release/apogee reference codes > docs/request-codes.md
	@build/release/apogee reference commands > docs/admin.md

.PHONY: clean
clean:  ## Remove everything that was built
	@rm -rf build
