-- Who may do what: a role a process, no right that its process does not use, and row security for everybody.
-- docs/adr/0007-row-security.md says why; tests/store/test_row_security.py and test_rights.py hold it.

DO $$
DECLARE
    role text;
    unsafe boolean;
BEGIN
    FOREACH role IN ARRAY ARRAY['diwan_web', 'diwan_worker', 'diwan_pool', 'diwan_relay', 'diwan_auditor'] LOOP
        -- Made before, as a rule: by the ministry's own administrator, who also gives the passwords.
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', role);
        END IF;
        SELECT rolsuper OR rolbypassrls INTO unsafe FROM pg_roles WHERE rolname = role;
        IF unsafe THEN
            RAISE EXCEPTION 'role % skips row security: take SUPERUSER and BYPASSRLS from it', role;
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role);
        EXECUTE format('GRANT SELECT ON alembic_version TO %I', role);
    END LOOP;
END $$;

-- Rows are seen and written for the tenant of the transaction; without one, none.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'tenant', 'source', 'webhook', 'procedure_version', 'delegation', 'numbering', 'entry', 'case_file', 'party',
        'inbox', 'blob', 'document', 'page', 'fact', 'agent_run', 'model_call', 'tool_call', 'proposal', 'task',
        'task_act', 'decision', 'letter', 'notification', 'outbox'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format(
            'CREATE POLICY of_tenant ON %I USING (tenant = nullif(current_setting(''diwan.tenant'', true), '''')) '
            'WITH CHECK (tenant = nullif(current_setting(''diwan.tenant'', true), ''''))', t);
    END LOOP;
END $$;

-- The relay rings for every tenant, and sees envelopes only.
CREATE POLICY for_relay ON case_file TO diwan_relay USING (true);
CREATE POLICY for_relay ON outbox TO diwan_relay USING (true);
CREATE POLICY for_relay ON webhook TO diwan_relay USING (true);
GRANT SELECT (tenant, id, procedure, status, version, inbox_last, inbox_cursor, kind, wake_at, blocked, opened_at,
              rung_at, rings) ON case_file TO diwan_relay;
GRANT UPDATE (rung_at, rings) ON case_file TO diwan_relay;
GRANT SELECT ON outbox, webhook TO diwan_relay;
GRANT UPDATE (delivered_at, next_at, attempts, last_status) ON outbox TO diwan_relay;

-- The web takes events and people's acts in, and shows.
GRANT SELECT ON tenant, source, webhook, procedure_version, delegation, numbering, entry, case_file, party, inbox,
    blob, document, page, fact, agent_run, model_call, tool_call, proposal, task, task_act, decision, letter,
    notification, outbox TO diwan_web, diwan_worker, diwan_auditor;
GRANT INSERT ON procedure_version, numbering, entry, case_file, party, inbox, blob, document, fact, proposal, task,
    task_act TO diwan_web;
GRANT UPDATE ON numbering, case_file, document, task TO diwan_web;

-- The case worker carries cases through their steps.
GRANT INSERT ON entry, blob, page, fact, agent_run, tool_call, proposal, task, decision, letter, notification, outbox
    TO diwan_worker;
GRANT UPDATE ON case_file, inbox, document, agent_run, task, notification TO diwan_worker;

-- The pool worker sees what a model is asked about, and stores requests and answers. Of a case_file it may lock the row
-- and raise the version with an entry, nothing else: the triggers of 0001_guards.sql see to it.
GRANT SELECT ON procedure_version, entry, case_file, document, page, fact, agent_run, model_call, tool_call
    TO diwan_pool;
GRANT INSERT ON entry, model_call TO diwan_pool;
GRANT UPDATE ON case_file TO diwan_pool;
GRANT UPDATE (calls, tokens) ON agent_run TO diwan_pool;
GRANT UPDATE (response_sealed, status, used, broken, usage, engine, ended_at) ON model_call TO diwan_pool;
