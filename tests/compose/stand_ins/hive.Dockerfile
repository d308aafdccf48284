# apache/hive:4.1.0, as far as SERVICE_NAME=metastore goes: the metastore's own jars, and those of Hadoop's S3 client where the official
# image has them.
FROM binlake-stand-in
RUN useradd --uid 1000 --no-create-home hive && mkdir -p /opt/hive/conf /opt/hive/data/warehouse && chown -R hive /opt/hive
COPY libs /opt/hive/lib
COPY s3a /opt/hadoop/share/hadoop/tools/lib
COPY hive-site.xml metastore-log4j2.properties /opt/hive/conf/
COPY hive.sh /entrypoint.sh
USER hive
WORKDIR /opt/hive
EXPOSE 9083
ENTRYPOINT ["bash", "/entrypoint.sh"]
