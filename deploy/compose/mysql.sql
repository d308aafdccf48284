-- What binlake needs, and no more.
CREATE USER binlake@'%' IDENTIFIED BY 'binlake-of-the-laptop';
GRANT SELECT ON binlake_school.* TO binlake@'%';
GRANT REPLICATION SLAVE, REPLICATION CLIENT, BACKUP_ADMIN, XA_RECOVER_ADMIN ON *.* TO binlake@'%';
