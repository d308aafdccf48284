# mysql:9.7: Debian's server, set up as the official image sets up its own.
FROM binlake-stand-in
RUN groupadd --gid 999 mysql && useradd --uid 999 --gid 999 --no-create-home mysql && \
    mkdir -p /var/lib/mysql /var/run/mysqld /docker-entrypoint-initdb.d && chown mysql:mysql /var/lib/mysql /var/run/mysqld
COPY root /opt/mysql
COPY mysql.sh /entrypoint.sh
RUN ln -s /opt/mysql/bin/* /usr/local/bin/
VOLUME /var/lib/mysql
EXPOSE 3306
ENTRYPOINT ["bash", "/entrypoint.sh"]
