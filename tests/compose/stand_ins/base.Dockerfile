# What all stand-ins are made on.
FROM debian:12-slim
RUN apt-get update -q && \
    apt-get install -y -q --no-install-recommends busybox curl openjdk-17-jre-headless python3-minimal python3-yaml && \
    rm -rf /var/lib/apt/lists/* && ln -s /bin/busybox /usr/local/bin/wget
COPY known.sh /
