-- The tables of `make bench` and the procedures that fill them on the server itself.
CREATE DATABASE bench;
USE bench;

CREATE TABLE digits (d INT PRIMARY KEY) SELECT 0 AS d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5
  UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9;

-- W1: wide rows. W2 are changes of the same rows.
CREATE TABLE w1 (
  id BIGINT NOT NULL PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, ts TIMESTAMP(6) NOT NULL,
  amount DECIMAL(18,4) NOT NULL, note VARCHAR(255) NULL);
CREATE TABLE w2 LIKE w1;

-- W1b: narrow rows.
CREATE TABLE w1b (
  id BIGINT NOT NULL PRIMARY KEY, user_id INT NOT NULL, status TINYINT NOT NULL, amount DECIMAL(12,2) NOT NULL,
  created_at DATETIME(3) NOT NULL);

-- Large values.
CREATE TABLE large (id BIGINT NOT NULL PRIMARY KEY, body MEDIUMTEXT NOT NULL, bytes MEDIUMBLOB NOT NULL);

-- Small rows at an even pace.
CREATE TABLE tick (id BIGINT NOT NULL PRIMARY KEY, made_at DATETIME(6) NOT NULL, note VARCHAR(100) NOT NULL);

DELIMITER //

-- Rows [base, base + n) of W1, a thousand at a time.
CREATE PROCEDURE fill_w1(base BIGINT, n BIGINT)
BEGIN
  DECLARE at BIGINT DEFAULT base;
  WHILE at < base + n DO
    INSERT INTO w1
      SELECT at + a.d * 100 + b.d * 10 + e.d, CRC32(at + a.d) % 1000000, LEFT(REPEAT(SHA2(CONCAT(at, a.d, b.d, e.d), 256), 2), 119),
        LEFT(SHA2(CONCAT(at, b.d, e.d), 256), 59), '2026-01-01 00:00:00' + INTERVAL (at + b.d) % 20000000 SECOND + INTERVAL at % 1000000 MICROSECOND,
        (at + a.d) * 1.0625, CONCAT('note ', at, ' of ', a.d, b.d, e.d)
      FROM digits a, digits b, digits e
      WHERE at + a.d * 100 + b.d * 10 + e.d < base + n;
    SET at = at + 1000;
  END WHILE;
END//

CREATE PROCEDURE fill_w1b(base BIGINT, n BIGINT)
BEGIN
  DECLARE at BIGINT DEFAULT base;
  WHILE at < base + n DO
    INSERT INTO w1b
      SELECT at + a.d * 100 + b.d * 10 + e.d, CRC32(at + a.d) % 100000, (at + b.d) % 7, ((at + e.d) % 1000000) * 0.25,
        '2026-01-01 00:00:00' + INTERVAL (at + e.d) % 20000000 SECOND
      FROM digits a, digits b, digits e
      WHERE at + a.d * 100 + b.d * 10 + e.d < base + n;
    SET at = at + 1000;
  END WHILE;
END//

-- W2: rounds of three transactions with 13 row changes: ten rows inserted, two updated (one of this round, one of the last hundred
-- rounds), one deleted. Round q deletes its row (q + 3) mod 10, so that no other one ever updates it.
CREATE PROCEDURE change_w2(base BIGINT, rounds BIGINT)
BEGIN
  DECLARE r BIGINT DEFAULT 0;
  DECLARE at BIGINT DEFAULT base;
  DECLARE q BIGINT;
  WHILE r < rounds DO
    INSERT INTO w2
      SELECT at + d, CRC32(at + d) % 1000000, LEFT(REPEAT(SHA2(at, 256), 2), 100 + d), LEFT(SHA2(at + d, 256), 40 + d),
        '2026-01-01 00:00:00' + INTERVAL (at + d) % 20000000 SECOND, (at + d) * 1.0625, CONCAT('note ', at + d)
      FROM digits;
    SET q = r - (r * 7) % LEAST(r + 1, 100);
    UPDATE w2 SET k = k + 1, note = CONCAT('changed ', r) WHERE id IN (base + q * 10 + (q + 4) % 10, at + r % 10);
    DELETE FROM w2 WHERE id = at + (r + 3) % 10;
    SET at = at + 10;
    SET r = r + 1;
  END WHILE;
END//

-- Rows of 128 kB of hexadecimal digits and the 64 kB they stand for, one a transaction.
CREATE PROCEDURE fill_large(n BIGINT)
BEGIN
  DECLARE at BIGINT DEFAULT 0;
  SET SESSION group_concat_max_len = 1000000;
  WHILE at < n DO
    INSERT INTO large
      SELECT at, body, UNHEX(body)
      FROM (SELECT GROUP_CONCAT(SHA2(CONCAT(at, '/', a.d, b.d, e.d), 512) SEPARATOR '') AS body FROM digits a, digits b, digits e) AS made;
    SET at = at + 1;
  END WHILE;
END//

-- n transactions of one row, `rate` a second, each with the time of its making (UTC).
CREATE PROCEDURE tick(base BIGINT, n BIGINT, rate BIGINT)
BEGIN
  DECLARE at BIGINT DEFAULT 0;
  DECLARE early DOUBLE;
  DECLARE start DATETIME(6);
  SET SESSION time_zone = '+00:00';
  SET start = SYSDATE(6);
  WHILE at < n DO
    SET early = at / rate - TIMESTAMPDIFF(MICROSECOND, start, SYSDATE(6)) / 1e6;
    IF early > 0 THEN
      DO SLEEP(early);
    END IF;
    INSERT INTO tick VALUES (base + at, SYSDATE(6), 'a row of about one hundred bytes, as transactions of an application make them all day');
    SET at = at + 1;
  END WHILE;
END//

DELIMITER ;
