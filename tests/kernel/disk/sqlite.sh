#!/bin/busybox sh
# SQLite with its log in shared memory on a disk: transactions, one that is given up, checkpoints,
# and a second connection that reads while the first one writes.
set -e
export HOME=$PWD

sqlite3 base <<'SQL'
PRAGMA journal_mode = WAL;
PRAGMA wal_autocheckpoint = 100;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, weight INTEGER, body BLOB);
CREATE INDEX by_weight ON item (weight);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
INSERT INTO item SELECT i, 'item ' || i, i * 7919 % 1009, zeroblob(i % 300) FROM n;
COMMIT;
BEGIN;
DELETE FROM item WHERE weight < 500;
SELECT count(*) FROM item;
ROLLBACK;
SELECT count(*), sum(weight), sum(length(body)) FROM item;
PRAGMA wal_checkpoint(PASSIVE);
SQL

# A reader keeps what it has seen while another process writes.
sqlite3 base <<'SQL'
BEGIN;
SELECT count(*) FROM item;
.shell sqlite3 base "DELETE FROM item WHERE id % 3 = 0; SELECT changes();"
SELECT count(*) FROM item;
COMMIT;
SELECT count(*) FROM item;
SQL

# What another connection has not finished is not there.
sqlite3 base <<'SQL'
BEGIN IMMEDIATE;
UPDATE item SET weight = weight + 1;
.shell sqlite3 base "SELECT sum(weight) FROM item; INSERT INTO item (name) VALUES ('late');" 2>/dev/null || echo refused
COMMIT;
SELECT sum(weight) FROM item;
SQL

sqlite3 base <<'SQL'
UPDATE item SET name = 'renamed ' || id, body = zeroblob(500) WHERE id % 2 = 0;
PRAGMA wal_checkpoint(TRUNCATE);
PRAGMA integrity_check;
VACUUM;
PRAGMA integrity_check;
SELECT weight, count(*) FROM item GROUP BY weight % 10 ORDER BY weight % 10;
SELECT name FROM item WHERE weight BETWEEN 100 AND 104 ORDER BY name;
PRAGMA journal_mode = DELETE;
SQL
sqlite3 base .dump > dump
busybox md5sum dump
