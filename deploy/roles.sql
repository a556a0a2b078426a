-- The roles of Stepwell (AUTHZ-20). Run once, by a superuser, in the database itself, on any
-- PostgreSQL 15 or later; running it again changes nothing. Passwords are the operator's to set.

do $$
declare
    wanted record;
begin
    for wanted in
        select * from (values
            ('stepwell_owner', 'nologin'),
            ('stepwell_auth', 'nologin'),
            ('stepwell_audit_reader', 'nologin'),
            ('stepwell_migrate', 'login'),
            ('stepwell_api', 'login'),
            ('stepwell_worker', 'login'),
            ('stepwell_backup', 'login')
        ) as w (name, login)
    loop
        if not exists (select from pg_roles where rolname = wanted.name) then
            execute format(
                'create role %I %s nosuperuser nobypassrls nocreatedb nocreaterole',
                wanted.name, wanted.login
            );
        end if;
    end loop;
end
$$;

alter role stepwell_backup bypassrls;
grant stepwell_owner, stepwell_auth to stepwell_migrate;

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

do $$
declare
    name text;
begin
    foreach name in array array[
        'stepwell_owner', 'stepwell_auth', 'stepwell_migrate', 'stepwell_api',
        'stepwell_worker', 'stepwell_backup', 'stepwell_audit_reader'
    ]
    loop
        execute format(
            'alter role %I in database %I set search_path = stepwell', name, current_database()
        );
    end loop;
    foreach name in array array['stepwell_api', 'stepwell_worker']
    loop
        execute format('alter role %I set statement_timeout = %L', name, '5s');
        execute format('alter role %I set lock_timeout = %L', name, '2s');
        execute format(
            'alter role %I set idle_in_transaction_session_timeout = %L', name, '10s'
        );
        if current_setting('server_version_num')::integer >= 170000 then
            execute format('alter role %I set transaction_timeout = %L', name, '30s');
        end if;
    end loop;
end
$$;

-- What a person wrote must not reach the server's log (PHI-11).
do $$
begin
    execute format('alter database %I set log_min_error_statement = panic', current_database());
    execute format('alter database %I set log_error_verbosity = terse', current_database());
    execute format('alter database %I set log_parameter_max_length = 0', current_database());
    execute format(
        'alter database %I set log_parameter_max_length_on_error = 0', current_database()
    );
    execute format('alter database %I set log_statement = none', current_database());
end
$$;
