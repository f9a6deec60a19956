# Two commands for a first look: `make demo` and `make test`. Both install what they need.
CARGO ?= cargo
export CARGO
DEMO := target/demo
# How long each part of a run took; CI has begun the list already.
TIDEGATE_PHASES ?= $(CURDIR)/target/phases
# Seconds each fuzz target runs.
FUZZ_SECS ?= 60

.PHONY: demo demo-firewall lab test test-full lint update image deb check-deb fuzz

# Replays the capture of the first example, and prints its records, its flows with names, and its summary.
demo:
	scripts/install-deps demo
	$(CARGO) build --locked --no-default-features
	rm -rf $(DEMO) && mkdir -p $(DEMO)
	TIDEGATE_OUT=$(CURDIR)/$(DEMO) $(CARGO) run --locked --no-default-features --quiet -- replay -c examples/first/tidegate.yaml \
		--summary $(DEMO)/summary.json examples/first/first.pcap
	@echo && echo "records, $(DEMO)/records.ndjson:" && cat $(DEMO)/records.ndjson
	@echo && echo "flows, $(DEMO)/flows.ndjson:" && cat $(DEMO)/flows.ndjson
	@echo && echo "summary, $(DEMO)/summary.json:" && cat $(DEMO)/summary.json && echo
	@echo && echo "next: your own capture in place of first.pcap:"
	@echo "  target/debug/tidegate replay -c examples/first/tidegate.yaml FILE.pcap"
	@echo "or an interface, live: docs/first-steps.md"

# The gate in two network namespaces: traffic, a verdict, its end, a killed daemon. As root.
demo-firewall:
	scripts/install-deps demo-firewall
	$(CARGO) build --locked
	scripts/demo-firewall target/debug/tidegate

# Attacks and ordinary work in two network namespaces, each from an address of its own, and what `tune` says to
# it. As root; about seven minutes.
LAB := target/lab
lab:
	scripts/install-deps lab
	$(CARGO) build --locked --no-default-features
	tests/lab/lab.py $(LAB)
	target/debug/tidegate tune -c $(LAB)/lab.yaml --labels $(LAB)/labels.csv --report $(LAB)/tune.html $(LAB)/lab.pcap

# What CI runs. Live captures need root: TIDEGATE_TESTS=unprivileged leaves them out.
test:
	scripts/install-deps test
	TIDEGATE_PHASES=$(TIDEGATE_PHASES) scripts/test

# The slow matrix too: long captures, more rounds; and the image, which only root can build.
test-full:
	scripts/install-deps test
	scripts/install-deps test-full
	TIDEGATE_PHASES=$(TIDEGATE_PHASES) TIDEGATE_TESTS=full PROPTEST_CASES=2560 scripts/test
	if [ "$$(id -u)" -eq 0 ]; then $(MAKE) image check-deb; \
		else echo "left out: make image and make check-deb need root" >&2; fi

lint:
	scripts/phase format $(CARGO) fmt --all --check
	scripts/phase clippy $(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" scripts/phase documentation \
		$(CARGO) doc --locked --workspace --no-deps --document-private-items
	deny=$$(scripts/cargo-tool deny) && scripts/phase licences $$deny --locked check bans licenses sources

# Writes everything anew that is made from the code: docs/reference.md, docs/fields.md, the index
# templates, the first example's capture, snapshots. Look at the difference before you commit it.
update:
	TIDEGATE_UPDATE=1 INSTA_UPDATE=always $(CARGO) test --locked --lib
	TIDEGATE_UPDATE=1 $(CARGO) test --locked --test it -- the_shipped_capture
	git status --short

# Builds the image without a registry of images and runs the first example in it. As root; minutes, so
# CI does not run it.
image:
	scripts/install-deps image
	scripts/check-image

# The Debian package, for this machine's release and architecture; prints its path.
deb:
	scripts/install-deps deb
	scripts/package-deb

# The same, installed, used, removed and purged in a fresh Debian. As root; minutes, as the image.
check-deb:
	scripts/install-deps deb
	scripts/check-deb

# Every parser of bytes from outside, one after the other; see docs/fuzzing.md. Needs a nightly toolchain.
fuzz:
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz --version 0.13.2
	cd fuzz && set -e && for target in $$($(CARGO) +nightly fuzz list); do \
		mkdir -p corpus/$$target; \
		seeds=seeds/$$target; [ -d $$seeds ] || seeds=../tests/data/$$target; \
		$(CARGO) +nightly fuzz run $$target corpus/$$target $$seeds -- \
			-max_total_time=$(FUZZ_SECS) -max_len=100000 -timeout=10 \
			-rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1; \
	done
