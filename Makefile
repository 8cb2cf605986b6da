# The commands of this project; `make` alone lists them. They set up what they need on a Debian machine with Rust and Go.
# Whichever process owns the test Kubernetes, make or what started it: when it is gone the cluster goes too.
owned = CLUSTER_OWNER=$${CLUSTER_OWNER:-$$PPID}

.PHONY: help
help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

.PHONY: demo
demo: ## Show an upload from kubectl apply to the key in a Job, against a double of Cyberun
	@.ci/packages
	@$(owned) tests/demo/run

.PHONY: test
test: ## Run all tests, those in a real Kubernetes too (as root with nodes, otherwise without)
	@$(owned) .ci/tiers test

.PHONY: lint
lint: ## Check format, lints, documentation, generated files and chart
	@.ci/tiers lint

.PHONY: bench-scale
bench-scale: ## Measure the operator at scale: N=, M=, FOREIGN_PODS=, FOREIGN_CONFIG_MAPS=, QUEUED= (benches/README.md)
	@.ci/packages
	@$(owned) benches/scale/run

.PHONY: image
image: ## Make the image that is published, as an archive that docker load takes (5 minutes of CPU)
	@.ci/packages
	@.ci/image published

.PHONY: generate
generate: ## Write the files that are made from the code
	@.ci/generate
