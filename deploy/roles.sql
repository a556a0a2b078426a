-- The roles of Stepwell, the schema they share, and what holds for each of them (AUTHZ-20).
--
-- Run by a superuser in the database itself, on PostgreSQL 15 or later, before the first
-- migration. Running it again changes nothing. Passwords are the operator's to set:
--   \password stepwell_migrate
-- and likewise for stepwell_api, stepwell_worker and stepwell_backup.

-- Roles. What a role may do is stated again each time, so that nobody's widening outlives a run.
do $$
declare
    wanted record;
begin
    for wanted in
        select * from (values
            ('stepwell_owner', 'nologin nobypassrls'),        -- owns the schema and its tables
            ('stepwell_auth', 'nologin nobypassrls'),         -- owns the SECURITY DEFINER functions
            ('stepwell_audit_reader', 'nologin nobypassrls'), -- granted to people who read the audit
            ('stepwell_migrate', 'login nobypassrls'),        -- migrations, and nothing else
            ('stepwell_api', 'login nobypassrls'),            -- owns nothing
            ('stepwell_worker', 'login nobypassrls'),         -- owns nothing
            ('stepwell_backup', 'login bypassrls')            -- reads all rows, writes none (PHI-15)
        ) as roles (name, abilities)
    loop
        if not exists (select from pg_roles where rolname = wanted.name) then
            execute format('create role %I', wanted.name);
        end if;
        execute format(
            'alter role %I %s nosuperuser nocreatedb nocreaterole noreplication',
            wanted.name, wanted.abilities
        );
    end loop;
end
$$;

grant stepwell_owner, stepwell_auth to stepwell_migrate;

-- The database and its schemas: nothing for everybody.
do $$
begin
    execute format('revoke all on database %I from public', current_database());
    execute format(
        'grant connect on database %I to stepwell_migrate, stepwell_api, stepwell_worker,'
        ' stepwell_backup, stepwell_audit_reader',
        current_database()
    );
end
$$;

revoke all on schema public from public;
create schema if not exists stepwell authorization stepwell_owner;
grant usage on schema stepwell
    to stepwell_api, stepwell_worker, stepwell_auth, stepwell_backup, stepwell_audit_reader;

-- Names resolve in one schema, whoever asks.
do $$
declare
    role_name text;
begin
    foreach role_name in array array[
        'stepwell_owner', 'stepwell_auth', 'stepwell_migrate', 'stepwell_api',
        'stepwell_worker', 'stepwell_backup', 'stepwell_audit_reader'
    ]
    loop
        execute format(
            'alter role %I in database %I set search_path = stepwell',
            role_name, current_database()
        );
    end loop;
end
$$;

-- A transaction that is left open holds back the event log's and the audit's horizon (AUD-07),
-- and one that waits without end takes a place in the pool (REL-01).
do $$
declare
    role_name text;
begin
    foreach role_name in array array['stepwell_api', 'stepwell_worker']
    loop
        execute format('alter role %I set statement_timeout = %L', role_name, '5s');
        execute format('alter role %I set lock_timeout = %L', role_name, '2s');
        execute format(
            'alter role %I set idle_in_transaction_session_timeout = %L', role_name, '10s'
        );
        if current_setting('server_version_num')::integer >= 170000 then
            execute format('alter role %I set transaction_timeout = %L', role_name, '30s');
        end if;
    end loop;
end
$$;

-- What a person wrote must not reach the server's log (PHI-11). By default an error logs its
-- statement, and a failed constraint the whole row.
do $$
declare
    setting record;
begin
    for setting in
        select * from (values
            ('log_error_verbosity', 'terse'),
            ('log_min_error_statement', 'panic'),
            ('log_parameter_max_length', '0'),
            ('log_parameter_max_length_on_error', '0'),
            ('log_statement', 'none')
        ) as settings (name, value)
    loop
        execute format(
            'alter database %I set %I = %L', current_database(), setting.name, setting.value
        );
    end loop;
end
$$;
