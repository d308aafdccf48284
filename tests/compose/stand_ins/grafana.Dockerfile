# grafana/grafana:13.2.3, as far as a program of ours can stand for it: see grafana.py.
FROM binlake-stand-in
RUN useradd --uid 472 --no-create-home grafana && mkdir -p /var/lib/grafana && chown grafana /var/lib/grafana
COPY grafana.py /
USER grafana
VOLUME /var/lib/grafana
EXPOSE 3000
ENTRYPOINT ["python3", "-u", "/grafana.py"]
