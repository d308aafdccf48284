# versity/versitygw:v1.8.0: the same program, built from its module.
FROM binlake-stand-in
COPY versitygw /app/versitygw
COPY versitygw.sh /entrypoint.sh
EXPOSE 7070
ENTRYPOINT ["bash", "/entrypoint.sh"]
