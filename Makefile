# The commands of this project; `make` alone lists them. They install what they need on a Debian machine with Rust and Go.
# The test Kubernetes has an owner process: make or its parent. The cluster stops when the owner ends.
owned = CLUSTER_OWNER=$${CLUSTER_OWNER:-$$PPID}

.PHONY: help
help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

.PHONY: demo
demo: ## Show an upload from kubectl apply to the key in a Job, with a test double of Cyberun
	@.ci/packages
	@$(owned) tests/demo/run

.PHONY: test
test: ## Run all tests, also in a real Kubernetes (as root with nodes, otherwise without)
	@$(owned) .ci/tiers test

.PHONY: lint
lint: ## Check format, lints, documentation, generated files and chart
	@.ci/tiers lint

.PHONY: bench
bench: ## Measure uploads in pairs against curl and other tools: PAIRS=, WORKS=, TOOLS=, WRITE=true (benches/README.md)
	@.ci/packages
	@benches/transfer/run

.PHONY: bench-scale
bench-scale: ## Measure the operator at scale: N=, M=, FOREIGN_PODS=, FOREIGN_CONFIG_MAPS=, QUEUED= (benches/README.md)
	@.ci/packages
	@$(owned) benches/scale/run

.PHONY: soak
soak: ## Let faults, kills and restarts befall the operator: MINUTES=30, SEED=, MIB_PER_HOUR= (benches/README.md)
	@.ci/packages
	@$(owned) benches/soak/run

.PHONY: image
image: ## Build the published image as an archive for docker load (5 minutes of CPU)
	@.ci/packages image
	@.ci/image published

.PHONY: dist
dist: ## Make everything of a release in dist: IMAGE=, SOURCE= (20 minutes; docs/releasing.md)
	@.ci/packages dist
	@.ci/dist

.PHONY: reproduce
reproduce: ## Make the release once more, in another folder, and compare it with dist
	@.ci/packages dist
	@.ci/dist reproduce

.PHONY: generate
generate: ## Write the files that are generated from the code
	@.ci/generate
