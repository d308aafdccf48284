# prom/prometheus:v3.13.3: Debian's Prometheus, which is older. It refuses options and settings that it does not know.
FROM binlake-stand-in
COPY prometheus /bin/prometheus
COPY prometheus.sh /entrypoint.sh
RUN mkdir /prometheus && chown nobody /prometheus
USER nobody
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["bash", "/entrypoint.sh"]
