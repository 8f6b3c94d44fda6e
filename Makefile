# Everything is done by scripts/; this file only gives it short names.
.PHONY: build demo test bench check lint clean faults test-peer test-systemd test-desktop test-wine test-qemu failover bench-desk bench-return matrix

build test bench check clean test-peer test-systemd test-desktop test-wine test-qemu:
	@scripts/$@

demo:
	@scripts/setup
	@scripts/build
	@go run ./scripts/demo

lint: check

# make faults SEEDS=100 runs a hundred schedules of faults, make faults SEED=17 repeats one.
faults:
	@scripts/setup
	@scripts/build
	@go run ./scripts/faults $(if $(SEED),-seed $(SEED),-seeds $(or $(SEEDS),3)) -parallel $(or $(PARALLEL),1)

# make bench-desk measures what the owner of a machine notices.
bench-desk:
	@scripts/setup
	@scripts/bench-desk

# make bench-return has the owners of sixty machines come back within ten seconds.
bench-return:
	@scripts/setup
	@scripts/bench-return

# make matrix moves programs of every kind while they work.
matrix:
	@scripts/setup
	@scripts/matrix

# make failover kills the leader of two matchmakers with a thousand jobs in flight.
failover:
	@scripts/setup
	@scripts/failover
