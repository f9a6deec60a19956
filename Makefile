# Two commands for a first look: `make demo` and `make test`. Both install what they need.
CARGO ?= cargo
DEMO := target/demo

.PHONY: demo test test-full lint image

# Replays the capture of the first example, and prints its records and its summary.
demo:
	scripts/install-deps demo
	$(CARGO) build --locked
	rm -rf $(DEMO) && mkdir -p $(DEMO)
	TIDEGATE_OUT=$(DEMO) $(CARGO) run --locked --quiet -- replay -c examples/first/tidegate.yaml \
		--summary $(DEMO)/summary.json examples/first/first.pcap
	@echo && echo "records, $(DEMO)/records.ndjson:" && cat $(DEMO)/records.ndjson
	@echo && echo "summary, $(DEMO)/summary.json:" && cat $(DEMO)/summary.json && echo

# What CI runs. Live captures need root: TIDEGATE_TESTS=unprivileged leaves them out.
test:
	scripts/install-deps test
	$(CARGO) test --locked

# The slow matrix too: long captures, more rounds.
test-full:
	scripts/install-deps test
	TIDEGATE_TESTS=full $(CARGO) test --locked

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items
	$(CARGO) deny --locked check bans licenses sources

# Builds the image without a registry of images and runs the first example in it. As root; minutes, so
# CI does not run it.
image:
	scripts/install-deps image
	scripts/check-image
