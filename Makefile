# Everything is done by scripts/; this file only gives it short names.
.PHONY: build demo test bench check lint clean

build test bench check clean:
	@scripts/$@

demo:
	@scripts/setup
	@scripts/build
	@go run ./scripts/demo

lint: check
