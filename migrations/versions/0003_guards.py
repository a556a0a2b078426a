"""Row-level security, rights, what never changes, and what nobody can book twice."""

from alembic import op

from migrations.guards import definer_function, grant_table, guard_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ORDINARY = (
    "account",
    "alert",
    "answer",
    "assessment",
    "booking",
    "care_group",
    "care_team_member",
    "connectivity_test",
    "data_key",
    "enrollment",
    "event",
    "event_head",
    "group_facilitator",
    "group_member",
    "instrument_switch",
    "intake",
    "invitation",
    "organization",
    "organization_key",
    "participant",
    "plan",
    "program",
    "room",
    "room_member",
    "series",
    "session",
    "session_staff",
    "staff_authorization",
    "staff_member",
    "attendance",
    "track",
    "webhook_endpoint",
)
# What the worker removes when it has served its purpose.
_CLEANED = ("known_device", "notification", "refresh_token", "sign_in", "webhook_delivery")
_INSERT_ONLY = (
    "admission_policy",
    "alert_step",
    "decision",
    "instrument_version",
    "intake_transition",
    "level_authorization",
    "plan_signature",
    "program_measurement",
    "recommendation",
    "referral",
    "room_entry",
    "score",
)
_SIGN_IN_TABLES = ("authorization_session", "authorization_code", "throttle")


def upgrade() -> None:
    _guard_tables()
    _keep_what_never_changes()
    _refuse_double_booking()
    _tell_who_listens()
    _open_requests()
    _stand_by_sockets()
    _serve_the_worker()
    _register_clients()
    _share_limits()
    _keep_answers()


def _guard_tables() -> None:
    for table in _ORDINARY:
        guard_table(table)
    for table in _CLEANED:
        guard_table(table, worker=("select", "insert", "update", "delete"))
    for table in _INSERT_ONLY:
        guard_table(table, api=("select", "insert"), worker=("select", "insert"))
    guard_table("webhook_attempt", api=("select", "insert"), worker=("select", "insert", "delete"))
    guard_table("audit_event", api=("insert",), worker=("insert",))
    op.execute("grant select on audit_event to stepwell_audit_reader")
    guard_table("stored_answer", api=("select", "insert"), worker=("select", "delete"))
    guard_table("realtime_ticket", worker=("select", "delete"))
    guard_table(
        "presence",
        api=("select", "insert", "update", "delete"),
        worker=("select", "delete"),
    )
    for table in _SIGN_IN_TABLES:
        grant_table(table, api=("select", "insert", "update"), worker=("select", "delete"))
    grant_table("rate_window", api=("select", "insert", "update"), worker=("select", "delete"))
    grant_table("client", api=("select",), worker=("select",))
    grant_table("alembic_version", api=("select",), worker=("select",))


def _keep_what_never_changes() -> None:
    for table in (*_INSERT_ONLY, "audit_event"):
        op.execute(
            f"create trigger insert_only before update or delete on {table}"
            " for each row execute function refuse_change()"
        )
    # Attempts are kept for thirty days, and then the worker removes them (WH-11).
    op.execute(
        "create trigger insert_only before update on webhook_attempt"
        " for each row execute function refuse_change()"
    )
    op.execute(
        "create trigger kept before delete on webhook_attempt"
        " for each row when (old.at > now() - interval '30 days')"
        " execute function refuse_change()"
    )
    for table in (*_INSERT_ONLY, "audit_event", "webhook_attempt"):
        op.execute(
            f"create trigger insert_only_all before truncate on {table}"
            " for each statement execute function refuse_change()"
        )
    op.execute(
        """
        create function keep_signed_plan() returns trigger
        language plpgsql
        as $$
        begin
            if exists (
                select from plan_signature s
                where s.organization_id = old.organization_id and s.plan_id = old.id
            ) then
                raise exception 'a signed plan keeps its content'
                    using errcode = 'restrict_violation', constraint = 'plan_signed';
            end if;
            return new;
        end
        $$
        """
    )
    op.execute(
        """
        create trigger keep_signed before update on plan
        for each row when (
            old.content_digest is distinct from new.content_digest
            or old.content is distinct from new.content
            or old.number is distinct from new.number
            or old.participant_id is distinct from new.participant_id
        )
        execute function keep_signed_plan()
        """
    )
    op.execute(
        """
        create function keep_submitted_assessment() returns trigger
        language plpgsql
        as $$
        begin
            -- That it was corrected, and by what, is all that is ever added, once.
            if tg_op = 'UPDATE'
                and old.corrected_by_id is null
                and to_jsonb(new) - array['corrected_by_id', 'version', 'updated_at']
                    = to_jsonb(old) - array['corrected_by_id', 'version', 'updated_at']
            then
                return new;
            end if;
            raise exception 'a submitted assessment never changes'
                using errcode = 'restrict_violation', constraint = 'assessment_submitted';
        end
        $$
        """
    )
    op.execute(
        """
        create function sign_what_is_there() returns trigger
        language plpgsql
        as $$
        declare
            the_digest bytea;
        begin
            -- Whoever changes the content at this moment is waited for, and then waits for us.
            select p.content_digest into the_digest from plan p
            where p.organization_id = new.organization_id and p.id = new.plan_id
            for share;
            if the_digest <> new.content_digest then
                raise exception 'a signature names the content of its plan'
                    using errcode = 'restrict_violation', constraint = 'plan_signature_content';
            end if;
            return new;
        end
        $$
        """
    )
    op.execute(
        "create trigger sign_what_is_there before insert on plan_signature"
        " for each row execute function sign_what_is_there()"
    )
    op.execute(
        """
        create trigger keep_submitted before update or delete on assessment
        for each row when (old.state = 'submitted')
        execute function keep_submitted_assessment()
        """
    )
    op.execute(
        """
        create function keep_submitted_answers() returns trigger
        language plpgsql
        as $$
        declare
            the_state text;
        begin
            -- Whoever submits at this moment is waited for.
            select a.state into the_state from assessment a
            where a.organization_id = new.organization_id and a.id = new.assessment_id
            for share;
            if the_state = 'submitted' then
                raise exception 'a submitted assessment keeps its answers'
                    using errcode = 'restrict_violation', constraint = 'assessment_submitted';
            end if;
            return new;
        end
        $$
        """
    )
    op.execute(
        "create trigger keep_submitted before insert or update on answer"
        " for each row execute function keep_submitted_answers()"
    )
    op.execute(
        """
        create trigger keep_evidence before update or delete on attendance
        for each row when (old.left_at is not null)
        execute function refuse_change()
        """
    )


def _refuse_double_booking() -> None:
    op.execute(
        """
        alter table booking add constraint booking_participant_excl exclude using gist (
            uuidrange(participant_id, participant_id, '[]') with &&,
            tstzrange(starts_at, ends_at) with &&
        ) where (state = 'booked')
        """
    )
    op.execute(
        """
        alter table session_staff add constraint session_staff_member_excl exclude using gist (
            uuidrange(staff_member_id, staff_member_id, '[]') with &&,
            tstzrange(starts_at, ends_at) with &&
        ) where (state = 'booked')
        """
    )
    op.execute(
        """
        create function keep_group_capacity() returns trigger
        language plpgsql
        as $$
        declare
            room_for integer;
        begin
            -- The group's row is locked, so that two people cannot share its last place.
            select capacity into room_for from care_group
            where organization_id = new.organization_id and id = new.group_id
            for no key update;
            if (
                select count(*) from group_member m
                where m.organization_id = new.organization_id and m.group_id = new.group_id
                    and m.ended_at is null and m.id <> new.id
            ) >= room_for then
                raise exception 'the group is full'
                    using errcode = 'check_violation', constraint = 'group_capacity';
            end if;
            return new;
        end
        $$
        """
    )
    op.execute(
        """
        create trigger keep_capacity before insert on group_member
        for each row when (new.ended_at is null)
        execute function keep_group_capacity()
        """
    )


def _tell_who_listens() -> None:
    op.execute(
        """
        create function tell_events() returns trigger
        language plpgsql
        as $$
        begin
            perform pg_notify('stepwell_events', o.organization_id::text)
            from (select distinct organization_id from inserted) o;
            return null;
        end
        $$
        """
    )
    op.execute(
        """
        create trigger tell after insert on event
        referencing new table as inserted
        for each statement execute function tell_events()
        """
    )
    op.execute(
        """
        create function tell_access() returns trigger
        language plpgsql
        as $$
        begin
            if tg_table_name = 'sign_in' then
                perform pg_notify('stepwell_access', 'sign_in:' || new.id);
            elsif tg_table_name = 'room_member' then
                perform pg_notify(
                    'stepwell_access', 'room_member:' || new.room_id || ':' || new.account_id
                );
            else
                perform pg_notify('stepwell_access', 'account:' || new.id);
            end if;
            return null;
        end
        $$
        """
    )
    op.execute(
        """
        create trigger tell_access after update on sign_in for each row
        when (
            new.version <> old.version
            or (new.revoked_at is not null and old.revoked_at is null)
        )
        execute function tell_access()
        """
    )
    op.execute(
        """
        create trigger tell_access after update on room_member for each row
        when (new.left_at is not null and old.left_at is null)
        execute function tell_access()
        """
    )
    op.execute(
        """
        create trigger tell_access after update on account for each row
        when (new.state <> old.state and new.state = 'disabled')
        execute function tell_access()
        """
    )
    op.execute(
        """
        create function post_entry(
            p_room uuid, p_account uuid, p_entry uuid, p_kind text, p_client_message uuid,
            p_body bytea, p_reply_to bigint, p_target bigint, p_now timestamptz,
            out outcome text, out entry_seq bigint, out entry_id uuid, out entry_at timestamptz,
            out member_id uuid
        )
        language plpgsql
        as $$
        declare
            the_room room;
        begin
            -- The room's row lock is what makes the sequence free of gaps.
            select * into the_room from room where id = p_room
                and organization_id = stepwell.organization_id() for no key update;
            if not found then
                outcome := 'unknown_room';
                return;
            end if;
            select m.id into member_id from room_member m
            where m.organization_id = the_room.organization_id and m.room_id = p_room
                and m.account_id = p_account and m.left_at is null and m.role <> 'observer';
            if not found then
                outcome := 'not_a_member';
                return;
            end if;
            if p_client_message is not null then
                select e.seq, e.id, e.at into entry_seq, entry_id, entry_at from room_entry e
                where e.organization_id = the_room.organization_id and e.room_id = p_room
                    and e.author_id = member_id and e.client_message_id = p_client_message;
                if found then
                    outcome := 'duplicate';
                    return;
                end if;
            end if;
            if p_now < the_room.opens_at or p_now >= the_room.closes_at then
                outcome := 'closed';
                return;
            end if;
            entry_seq := the_room.head_seq + 1;
            entry_id := p_entry;
            entry_at := p_now;
            update room set head_seq = entry_seq
            where organization_id = the_room.organization_id and id = p_room;
            insert into room_entry (
                organization_id, room_id, seq, id, kind, author_id, client_message_id, body,
                reply_to, target_seq, at
            ) values (
                the_room.organization_id, p_room, entry_seq, p_entry, p_kind, member_id,
                p_client_message, p_body, p_reply_to, p_target, p_now
            );
            perform pg_notify(
                'stepwell_rooms', the_room.organization_id || ':' || p_room || ':' || entry_seq
            );
            outcome := 'posted';
        end
        $$
        """
    )


def _open_requests() -> None:
    for table, actions in {
        "organization": "select",
        "account": "select",
        "staff_member": "select",
        "participant": "select",
        "sign_in": "select, update",
        "refresh_token": "select",
        "invitation": "select",
        "realtime_ticket": "select",
        "event": "select",
        "event_head": "select",
        "webhook_delivery": "select, update",
        "webhook_endpoint": "select",
        "notification": "select",
        "alert": "select",
        "audit_event": "select",
        "series": "select",
        "room": "select",
        "room_member": "select",
    }.items():
        op.execute(f"grant {actions} on {table} to stepwell_auth")
        op.execute(f"create policy across on {table} to stepwell_auth using (true)")
    definer_function(
        """
        create function open_request(
            p_organization uuid, p_sign_in uuid, p_version integer, p_now timestamptz,
            p_request text, p_source text
        ) returns table (
            account_id uuid, kind text, client_id text, roles text[], staff_member_id uuid,
            participant_id uuid, is_licensed boolean, clock_offset interval, environment text,
            known text
        )
        language plpgsql security definer set search_path = stepwell, pg_temp
        as $$
        declare
            seen timestamptz;
        begin
            select a.id, a.kind, s.client_id, m.roles, m.id, p.id,
                coalesce(m.is_independently_licensed, false), o.clock_offset, o.environment,
                s.last_seen_at
            into account_id, kind, client_id, roles, staff_member_id, participant_id,
                is_licensed, clock_offset, environment, seen
            from sign_in s
            join account a on a.organization_id = s.organization_id and a.id = s.account_id
            join organization o on o.organization_id = s.organization_id
            left join staff_member m
                on m.organization_id = a.organization_id and m.account_id = a.id
            left join participant p
                on p.organization_id = a.organization_id and p.account_id = a.id
            where s.organization_id = p_organization and s.id = p_sign_in
                and s.version = p_version and s.revoked_at is null and s.expires_at > p_now
                and s.last_seen_at + make_interval(secs => s.idle_seconds) > p_now
                and a.state = 'active';
            if not found then
                return;
            end if;
            if seen < p_now - interval '1 minute' then
                update sign_in s set last_seen_at = p_now
                where s.organization_id = p_organization and s.id = p_sign_in
                    and s.last_seen_at < p_now;
            end if;
            known := concat_ws(
                '|', account_id, kind, client_id, roles, staff_member_id, participant_id,
                is_licensed, clock_offset, environment
            );
            perform
                set_config('stepwell.organization_id', p_organization::text, true),
                set_config('stepwell.account_id', account_id::text, true),
                set_config('stepwell.actor_role', coalesce(roles[1], kind), true),
                set_config('stepwell.client_id', client_id, true),
                set_config('stepwell.sign_in_id', p_sign_in::text, true),
                set_config('stepwell.request_id', p_request, true),
                set_config('stepwell.source', p_source, true);
            return next;
        end
        $$
        """,
        "open_request(uuid, uuid, integer, timestamptz, text, text)",
        roles=("stepwell_api",),
    )
    op.execute(
        """
        create function open_known_request(
            p_organization uuid, p_sign_in uuid, p_version integer, p_now timestamptz,
            p_request text, p_source text, p_known text
        ) returns boolean
        language plpgsql
        as $$
        begin
            -- A caller of whom anything has changed is not the caller that the process knows.
            if (
                select r.known from open_request(
                    p_organization, p_sign_in, p_version, p_now, p_request, p_source
                ) r
            ) is distinct from p_known then
                raise exception 'the caller is not known any more' using errcode = 'SW001';
            end if;
            return true;
        end
        $$
        """
    )
    op.execute(
        "grant execute on function"
        " open_known_request(uuid, uuid, integer, timestamptz, text, text, text) to stepwell_api"
    )
    definer_function(
        """
        create function accounts_with_login(p_index bytea, p_slug text)
        returns table (organization_id uuid, account_id uuid)
        language sql stable security definer set search_path = stepwell, pg_temp
        as $$
            select a.organization_id, a.id from account a
            join organization o on o.organization_id = a.organization_id
            where a.login_index = p_index and (p_slug is null or o.slug = p_slug)
            limit 2
        $$
        """,
        "accounts_with_login(bytea, text)",
        roles=("stepwell_api",),
    )
    for noun in ("refresh_token", "invitation", "realtime_ticket"):
        definer_function(
            f"""
            create function organization_of_{noun}(p_digest bytea) returns uuid
            language sql stable security definer set search_path = stepwell, pg_temp
            as $$ select organization_id from {noun} where digest = p_digest $$
            """,  # noqa: S608 (three words of this file)
            f"organization_of_{noun}(bytea)",
            roles=("stepwell_api",),
        )
    definer_function(
        """
        create function accesses_to_participant(
            p_participant uuid, p_before bigint, p_limit integer
        ) returns table (
            id bigint, recorded_at timestamptz, actor_id uuid, actor_role text, action text,
            subtype text, resource text, outcome text
        )
        language sql stable security definer set search_path = stepwell, pg_temp
        as $$
            -- Two searches, so that each uses its own index: who is named alone is found in order,
            -- page by page; only the lists that name them have to be sorted.
            -- What another participant did is left out before the limit, so that no short page
            -- tells of it.
            (
                select e.id, e.recorded_at, e.actor_id, e.actor_role, e.action, e.subtype,
                    e.resource, e.outcome
                from audit_event e
                where e.organization_id = stepwell.organization_id()
                    and e.participant_id = p_participant
                    and e.id < coalesce(p_before, 9223372036854775807)
                    and not exists (
                        select from participant o
                        where o.organization_id = e.organization_id
                            and o.account_id = e.actor_id and o.id <> p_participant
                    )
                order by e.id desc
                limit p_limit
            ) union (
                select e.id, e.recorded_at, e.actor_id, e.actor_role, e.action, e.subtype,
                    e.resource, e.outcome
                from audit_event e
                where e.organization_id = stepwell.organization_id()
                    and e.participant_ids @> array[p_participant]
                    and e.id < coalesce(p_before, 9223372036854775807)
                    and not exists (
                        select from participant o
                        where o.organization_id = e.organization_id
                            and o.account_id = e.actor_id and o.id <> p_participant
                    )
                order by e.id desc
                limit p_limit
            )
            order by id desc
            limit p_limit
        $$
        """,
        "accesses_to_participant(uuid, bigint, integer)",
        roles=("stepwell_api",),
    )


def _stand_by_sockets() -> None:
    """What a process with sockets asks now and then, for all their organizations at once.

    Each id comes with its organization, so that every row is found by its primary key.
    """
    definer_function(
        """
        create function room_heads(p_organizations uuid[], p_rooms uuid[])
        returns table (id uuid, head_seq bigint)
        language sql stable security definer set search_path = stepwell, pg_temp
        as $$
            select r.id, r.head_seq
            from unnest(p_organizations, p_rooms) w (organization_id, id)
            join room r on r.organization_id = w.organization_id and r.id = w.id
        $$
        """,
        "room_heads(uuid[], uuid[])",
        roles=("stepwell_api",),
    )
    definer_function(
        """
        create function event_positions(p_organizations uuid[])
        returns table (organization_id uuid, reached bigint)
        language sql stable security definer set search_path = stepwell, pg_temp
        as $$
            select h.organization_id, h.position from event_head h
            where h.organization_id = any (p_organizations)
        $$
        """,
        "event_positions(uuid[])",
        roles=("stepwell_api",),
    )
    # The conditions are those of `open_request`, but nobody asks here, so nobody was seen.
    definer_function(
        """
        create function live_sign_ins(
            p_organizations uuid[], p_sign_ins uuid[], p_now timestamptz
        ) returns table (id uuid, version integer)
        language sql stable security definer set search_path = stepwell, pg_temp
        as $$
            select s.id, s.version
            from unnest(p_organizations, p_sign_ins) w (organization_id, id)
            join sign_in s on s.organization_id = w.organization_id and s.id = w.id
            join account a on a.organization_id = s.organization_id and a.id = s.account_id
            where s.revoked_at is null and s.expires_at > p_now and a.state = 'active'
                and s.last_seen_at + make_interval(secs => s.idle_seconds) > p_now
        $$
        """,
        "live_sign_ins(uuid[], uuid[], timestamptz)",
        roles=("stepwell_api",),
    )
    definer_function(
        """
        create function standing_members(p_organizations uuid[], p_members uuid[])
        returns setof uuid
        language sql stable security definer set search_path = stepwell, pg_temp
        as $$
            select m.id from unnest(p_organizations, p_members) w (organization_id, id)
            join room_member m on m.organization_id = w.organization_id and m.id = w.id
            where m.left_at is null
        $$
        """,
        "standing_members(uuid[], uuid[])",
        roles=("stepwell_api",),
    )


def _serve_the_worker() -> None:
    definer_function(
        """
        create function worker_organizations() returns setof uuid
        language sql stable security definer set search_path = stepwell, pg_temp
        as $$ select organization_id from organization order by organization_id $$
        """,
        "worker_organizations()",
        roles=("stepwell_worker",),
    )
    definer_function(
        """
        create function worker_organizations_with_events() returns setof uuid
        language sql stable security definer set search_path = stepwell, pg_temp
        as $$ select distinct organization_id from event where position is null $$
        """,
        "worker_organizations_with_events()",
        roles=("stepwell_worker",),
    )
    definer_function(
        """
        create function longest_waits(out events_for float8, out deliveries_for float8)
        language sql stable security definer set search_path = stepwell, pg_temp
        as $$
            select
                coalesce((
                    -- An organization may live at another time; how long it waits is ours to say.
                    select extract(epoch from now() - min(e.at - o.clock_offset))
                    from event e
                    join organization o on o.organization_id = e.organization_id
                    where e.position is null
                ), 0),
                coalesce((
                    select extract(epoch from now() - min(w.next_attempt_at))
                    from webhook_endpoint e
                    cross join lateral (
                        select d.next_attempt_at from webhook_delivery d
                        join event v
                            on v.organization_id = d.organization_id and v.id = d.event_id
                        where d.organization_id = e.organization_id and d.endpoint_id = e.id
                            and d.state = 'waiting' and d.next_attempt_at <= now()
                            and (v.type = 'endpoint.verification') = (e.state = 'pending')
                        order by d.next_attempt_at
                        limit 1
                    ) w
                    where e.state in ('active', 'pending')
                        and (e.paused_until is null or e.paused_until <= now())
                        -- A receiver that is being served is slow at worst, and that is its own.
                        and not exists (
                            select from webhook_delivery b
                            where b.organization_id = e.organization_id and b.endpoint_id = e.id
                                and b.state = 'waiting' and b.leased_until > now()
                        )
                ), 0)
        $$
        """,
        "longest_waits()",
        roles=("stepwell_api", "stepwell_worker"),
    )
    definer_function(
        """
        create function worker_claim_deliveries(
            p_now timestamptz, p_lease interval, p_limit integer
        ) returns table (organization_id uuid, delivery_id uuid)
        language sql volatile security definer set search_path = stepwell, pg_temp
        as $$
            update webhook_delivery d
            set leased_until = p_now + p_lease, attempts = d.attempts + 1
            from (
                select w.organization_id, w.id from webhook_endpoint e
                cross join lateral (
                    select w.organization_id, w.id, w.next_attempt_at from webhook_delivery w
                    join event v on v.organization_id = w.organization_id and v.id = w.event_id
                    where w.organization_id = e.organization_id and w.endpoint_id = e.id
                        and w.state = 'waiting' and w.next_attempt_at <= p_now
                        and (w.leased_until is null or w.leased_until <= p_now)
                        -- An endpoint that has not proven itself gets the proof, nothing else.
                        and (v.type = 'endpoint.verification') = (e.state = 'pending')
                    order by w.next_attempt_at
                    -- Five at once, so that a slow receiver delays nobody else; one to find out
                    -- whether a receiver that kept failing is back (WH-09).
                    limit greatest(0, case when e.failures_in_a_row >= 20 then 1 else 5 end - (
                        select count(*) from webhook_delivery b
                        where b.organization_id = e.organization_id and b.endpoint_id = e.id
                            and b.state = 'waiting' and b.leased_until > p_now
                    ))
                    for update of w skip locked
                ) w
                where e.state in ('active', 'pending')
                    and (e.paused_until is null or e.paused_until <= p_now)
                order by w.next_attempt_at
                limit p_limit
            ) due
            where d.organization_id = due.organization_id and d.id = due.id
            returning d.organization_id, d.id
        $$
        """,
        "worker_claim_deliveries(timestamptz, interval, integer)",
        roles=("stepwell_worker",),
    )


def _keep_answers() -> None:
    op.execute(
        """
        create function claim_key(p_account uuid, p_key bytea) returns void
        language plpgsql
        as $$
        begin
            if not pg_try_advisory_xact_lock(
                ('x' || encode(substr(p_key, 1, 8), 'hex'))::bit(64)::bigint
            ) or exists (
                select from stored_answer a where a.account_id = p_account and a.key = p_key
            ) then
                raise exception 'the key is not new' using errcode = 'SW002';
            end if;
        end
        $$
        """
    )
    op.execute(
        """
        create function keep_answer(
            p_account uuid, p_key bytea, p_fingerprint bytea, p_id uuid, p_status integer,
            p_headers jsonb, p_body bytea, p_participants uuid[]
        ) returns void
        language plpgsql
        as $$
        begin
            insert into stored_answer (
                account_id, key, fingerprint, id, status, headers, body, participant_ids
            ) values (
                p_account, p_key, p_fingerprint, p_id, p_status, p_headers, p_body, p_participants
            );
        end
        $$
        """
    )
    for function in (
        "claim_key(uuid, bytea)",
        "keep_answer(uuid, bytea, bytea, uuid, integer, jsonb, bytea, uuid[])",
    ):
        op.execute(f"grant execute on function {function} to stepwell_api")


def _share_limits() -> None:
    op.execute(
        """
        create function lease_requests(
            p_key bytea, p_started timestamptz, p_quota integer, p_share integer,
            out granted integer, out used_by_all integer
        )
        language plpgsql
        as $$
        declare
            the_window rate_window;
        begin
            insert into rate_window (key, started_at, used) values (p_key, p_started, 0)
            on conflict (key) do nothing;
            select * into the_window from rate_window where key = p_key for update;
            if the_window.started_at < p_started then
                the_window.started_at := p_started;
                the_window.used := 0;
            end if;
            -- The nearer the limit, the smaller the lease, down to a single request.
            granted := least(
                p_quota - the_window.used, greatest(1, (p_quota - the_window.used) / p_share)
            );
            granted := greatest(0, granted);
            used_by_all := the_window.used + granted;
            update rate_window set started_at = the_window.started_at, used = used_by_all
            where key = p_key;
        end
        $$
        """
    )


def _register_clients() -> None:
    """The project's own applications; an operator's are added by the operator."""
    op.execute(
        """
        insert into client (id, name, scope, origins, is_native) values
            ('stepwell-spa', 'Stepwell in the browser', 'patient/*.cruds user/*.cruds',
                '{http://localhost:3000,http://localhost:5173,http://127.0.0.1:8000}', false),
            ('stepwell-mobile', 'Stepwell on the phone', 'patient/*.cruds user/*.cruds',
                '{}', true)
        """
    )
