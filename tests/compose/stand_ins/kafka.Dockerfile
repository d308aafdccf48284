# apache/kafka:4.3.1: the same broker, out of the same jars.
FROM binlake-stand-in
RUN useradd --uid 1000 --create-home appuser && mkdir -p /var/lib/kafka/data /etc/kafka && \
    chown -R appuser:appuser /var/lib/kafka /etc/kafka
COPY libs /opt/kafka/libs
COPY settings.txt /opt/kafka/
COPY kafka.sh /entrypoint.sh
USER appuser
VOLUME /var/lib/kafka/data
EXPOSE 9092
ENTRYPOINT ["bash", "/entrypoint.sh"]
