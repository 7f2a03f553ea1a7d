-- What the service knew of a case at each of its versions, so that it can be shown as it was known then
-- (docs/adr/0029-as-it-was-known.md). Written at commit by triggers, whoever changes a case: a row for each row that came,
-- and for the few that change a copy of what stands in them in clear. Nothing sealed is copied.
CREATE TABLE case_past (
    tenant TEXT NOT NULL,
    case_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    relation TEXT NOT NULL,
    key TEXT NOT NULL,
    was JSONB NOT NULL,
    PRIMARY KEY (tenant, case_id, relation, key, version),
    FOREIGN KEY (tenant, case_id) REFERENCES case_file (tenant, id)
);

ALTER TABLE case_past ENABLE ROW LEVEL SECURITY;
ALTER TABLE case_past FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON case_past USING (tenant = nullif(current_setting('diwan.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('diwan.tenant', true), ''));
GRANT SELECT ON case_past TO diwan_web, diwan_worker, diwan_auditor;

-- The columns of a row that may be known later as they are now; of rows that never change none are kept.
CREATE FUNCTION diwan_past_row(relation text, whole jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE relation
        WHEN 'case_file' THEN whole - ARRAY['tenant', 'id', 'head', 'changed_in', 'rung_at', 'rings', 'traceparent']
        WHEN 'task' THEN whole - ARRAY['tenant', 'case_id', 'shown_sealed']
        WHEN 'document' THEN whole - ARRAY['tenant', 'case_id', 'name_sealed']
        WHEN 'notification' THEN whole - ARRAY['tenant', 'case_id', 'proof_sealed']
        ELSE '{}'
    END
$$;
CREATE FUNCTION diwan_past_key(relation text, whole jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE relation
        WHEN 'case_file' THEN ''
        WHEN 'fact' THEN concat_ws('/', whole->>'name', whole->>'provenance', whole->>'revision')
        ELSE whole->>'id'
    END
$$;
REVOKE ALL ON FUNCTION diwan_past_row(text, jsonb), diwan_past_key(text, jsonb) FROM PUBLIC;

-- Deferred, so the case has its version: that a child changes with one is demanded by 0001_guards.sql.
CREATE FUNCTION diwan_keep_past() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    whole jsonb := to_jsonb(NEW);
    of_case text := coalesce(whole->>'case_id', whole->>'id');
BEGIN
    INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
    SELECT c.tenant, c.id, c.version, TG_TABLE_NAME, diwan_past_key(TG_TABLE_NAME, whole), diwan_past_row(TG_TABLE_NAME, whole)
    FROM public.case_file c WHERE c.tenant = NEW.tenant AND c.id = of_case
    ON CONFLICT (tenant, case_id, relation, key, version) DO UPDATE SET was = excluded.was;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION diwan_keep_past() FROM PUBLIC;

-- Most entries leave a case standing where it stood, those of an agent's calls do: they keep nothing.
CREATE CONSTRAINT TRIGGER case_file_past AFTER INSERT ON case_file
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION diwan_keep_past();
CREATE CONSTRAINT TRIGGER case_file_past_moved AFTER UPDATE ON case_file
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.number, OLD.status, OLD.state, OLD.inbox_last, OLD.inbox_cursor, OLD.kind, OLD.wake_at, OLD.blocked,
           OLD.closed_at) IS DISTINCT FROM (NEW.number, NEW.status, NEW.state, NEW.inbox_last, NEW.inbox_cursor, NEW.kind,
           NEW.wake_at, NEW.blocked, NEW.closed_at))
    EXECUTE FUNCTION diwan_keep_past();
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['party', 'fact', 'proposal', 'decision', 'letter'] LOOP
        EXECUTE format('CREATE CONSTRAINT TRIGGER %I AFTER INSERT ON %I DEFERRABLE INITIALLY DEFERRED '
                       'FOR EACH ROW EXECUTE FUNCTION diwan_keep_past()', t || '_past', t);
    END LOOP;
    -- Of events and uploads that belong to no case nothing is kept before they do.
    FOREACH t IN ARRAY ARRAY['document', 'task', 'notification'] LOOP
        EXECUTE format('CREATE CONSTRAINT TRIGGER %I AFTER INSERT OR UPDATE ON %I DEFERRABLE INITIALLY DEFERRED '
                       'FOR EACH ROW WHEN (NEW.case_id IS NOT NULL) EXECUTE FUNCTION diwan_keep_past()', t || '_past', t);
    END LOOP;
END $$;

-- What is written stays.
CREATE FUNCTION diwan_past_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.was = NEW.was THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND EXISTS (
        SELECT FROM public.case_file c WHERE c.tenant = NEW.tenant AND c.id = NEW.case_id AND c.version = NEW.version
            AND c.changed_in = pg_current_xact_id()::text
    ) AND (OLD.tenant, OLD.case_id, OLD.version, OLD.relation, OLD.key)
        = (NEW.tenant, NEW.case_id, NEW.version, NEW.relation, NEW.key) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'case_past: what was known stays' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER case_past_stays BEFORE UPDATE OR DELETE ON case_past FOR EACH ROW EXECUTE FUNCTION diwan_past_stays();
CREATE TRIGGER case_past_stays_whole BEFORE TRUNCATE ON case_past
    FOR EACH STATEMENT EXECUTE FUNCTION diwan_past_stays();

-- Of cases that are there already what is known now is known from their present version on. The owner, too, is held by
-- row security: for these statements alone it is not.
DO $$
DECLARE
    t text;
BEGIN
    ALTER TABLE case_file NO FORCE ROW LEVEL SECURITY;
    ALTER TABLE case_past NO FORCE ROW LEVEL SECURITY;
    INSERT INTO case_past SELECT tenant, id, version, 'case_file', '', diwan_past_row('case_file', to_jsonb(c)) FROM case_file c;
    FOREACH t IN ARRAY ARRAY['party', 'fact', 'proposal', 'decision', 'letter', 'document', 'task', 'notification'] LOOP
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', t);
        EXECUTE format(
            'INSERT INTO case_past SELECT c.tenant, c.id, c.version, %1$L, diwan_past_key(%1$L, to_jsonb(x)), '
            'diwan_past_row(%1$L, to_jsonb(x)) FROM %1$I x JOIN case_file c ON (c.tenant, c.id) = (x.tenant, x.case_id)', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    END LOOP;
    ALTER TABLE case_past FORCE ROW LEVEL SECURITY;
    ALTER TABLE case_file FORCE ROW LEVEL SECURITY;
END $$;
