# What can be done with a checkout. `make` alone prints this list.

.DEFAULT_GOAL := help
.PHONY: help demo build release test test-all compose soak bench simulate lint deny servers libraries clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## binlake at work on a real MySQL: a school under load, its renewal report out of MySQL and out of the lake; KAFKA=1: through Kafka; HIVE=1: in a Hive Metastore, read by Spark too
	@DEMO_KAFKA=$(KAFKA) DEMO_HIVE=$(HIVE) tests/demo/demo.sh

build: libraries ## the release binary, target/release/binlake
	cargo build --release --locked

release: ## an archive to give away: the stripped binary with its documents and the licences of all that is in it, in target/dist
	@deploy/release/release.sh

libraries: # what librdkafka is built with
	@tests/servers/libraries.sh

servers: libraries ## what the tests need beside the toolchains, into the cache: MySQL, MariaDB, Kafka, S3 and Hive Metastore servers, Pythons with DuckDB and Spark
	tests/servers/mysql.sh install
	tests/servers/mariadb.sh 10.11 install
	tests/servers/mariadb.sh 11.8 install
	tests/servers/kafka.sh install
	tests/servers/kcat.sh
	tests/servers/python.sh
	tests/servers/metastore.sh install
	tests/servers/s3.sh install
	tests/servers/promtool.sh
	tests/servers/kubernetes.sh

test: servers lint deny ## everything that holds the product together, from unit to end to end
	cargo test --locked --lib --bins --tests --examples --no-fail-fast
	cargo test --locked --doc
	tests/servers/promtool.sh rules
	tests/servers/kubernetes.sh check
	tests/servers/systemd.sh check

test-all: test ## the tests, and those that are long or heavy
	cargo test --locked --tests --no-fail-fast -- --ignored
	tests/servers/azure.sh install
	BINLAKE_TEST_AZURE=1 cargo test --locked --lib --no-fail-fast lake::
	tests/servers/hdfs.sh install
	cargo clippy --locked --all-targets --features hdfs -- -D warnings
	cargo test --locked --features hdfs --lib --no-fail-fast lake::
	cargo test --locked --features hdfs --test end_to_end --no-fail-fast hdfs::
	tests/servers/kubernetes.sh operator
	tests/servers/grafana.sh check
	tests/compose/compose.sh
	deploy/release/release.sh

compose: ## docker-compose.yml as a whole, in a Docker engine of the test's own: wants root, Go, Maven, and a JDK 24 or newer for Trino
	tests/compose/compose.sh

soak: libraries ## a long run of kills, network cuts and rebuilds under load, for MINUTES (10)
	BINLAKE_SOAK_MINUTES=$${MINUTES:-10} cargo test --locked --test end_to_end soak:: -- --ignored --nocapture

bench: servers build ## binlake beside Debezium, mysqldump and the raw limit, in one run; BENCH_ROWS=1000000 for a short one
	PYTHONPATH=$$(benches/consumer.sh) $$(tests/servers/python.sh) benches/bench.py

simulate: libraries ## as many seeds of the simulation as one likes: make simulate SEEDS=1000000 [FROM=10000]
	SIMULATION_SEEDS=$(or $(SEEDS),10000) SIMULATION_FROM=$(or $(FROM),0) cargo test --locked --test simulation whatever -- --nocapture

lint: libraries ## format, clippy and the documentation's links; warnings are errors
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --locked --no-deps --lib --document-private-items

deny: ## licences, sources, doubles and withdrawn versions of what binlake is made of
	tests/servers/deny.sh check

clean: ## what a build leaves; the cache of downloads stays
	cargo clean
