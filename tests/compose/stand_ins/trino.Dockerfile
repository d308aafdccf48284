# trinodb/trino:476: the same server and client, with the Hive connector only.
FROM binlake-stand-in
RUN groupadd --gid 1000 trino && useradd --uid 1000 --gid 1000 --create-home trino && \
    mkdir -p /data/trino /etc/trino/catalog && chown -R trino:trino /data/trino
COPY jdk /usr/lib/jdk
COPY server /usr/lib/trino
COPY trino.jar /usr/bin/trino
COPY etc /etc/trino
COPY trino.sh /entrypoint.sh
RUN printf '#!/bin/bash\ncurl --silent --fail http://localhost:8080/v1/info | grep -q "\\"starting\\":false"\n' >/usr/lib/trino/bin/health-check && \
    chmod 755 /usr/bin/trino /usr/lib/trino/bin/health-check
ENV JAVA_HOME=/usr/lib/jdk PATH=/usr/lib/jdk/bin:/usr/local/bin:/usr/bin:/bin
USER trino
EXPOSE 8080
ENTRYPOINT ["bash", "/entrypoint.sh"]
