-- Sets the passwords of the roles that sign in, from the environment, on a fresh database.
-- Read by psql 14 or later, after roles.sql. The server keeps a SCRAM verifier only.

\set ON_ERROR_STOP on
\getenv migrate STEPWELL_MIGRATE_PASSWORD
\getenv api STEPWELL_API_PASSWORD
\getenv worker STEPWELL_WORKER_PASSWORD
\getenv backup STEPWELL_BACKUP_PASSWORD

alter role stepwell_migrate password :'migrate';
alter role stepwell_api password :'api';
alter role stepwell_worker password :'worker';
alter role stepwell_backup password :'backup';
