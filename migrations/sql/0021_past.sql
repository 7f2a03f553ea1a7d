-- What was known of a case, kept for less: half of what a change with its entry cost beyond a plain audit table was this.
-- Rows that only come need nothing of themselves but their key, and no JSON of what is sealed in them is made and thrown
-- away. What is kept is the same as before (0017_past.sql).

-- Each row is made out of the case's own, which is never deleted: to be looked up again it needs no key.
ALTER TABLE case_past DROP CONSTRAINT case_past_tenant_case_id_fkey;

CREATE FUNCTION diwan_keep_came() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
    SELECT c.tenant, c.id, c.version, TG_TABLE_NAME, NEW.id, '{}'
    FROM public.case_file c WHERE c.tenant = NEW.tenant AND c.id = NEW.case_id;
    RETURN NULL;
END $$;
CREATE FUNCTION diwan_keep_fact() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
    SELECT c.tenant, c.id, c.version, 'fact', NEW.name || '/' || NEW.provenance || '/' || NEW.revision, '{}'
    FROM public.case_file c WHERE c.tenant = NEW.tenant AND c.id = NEW.case_id;
    RETURN NULL;
END $$;
CREATE FUNCTION diwan_keep_case() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
    SELECT c.tenant, c.id, c.version, 'case_file', '',
        to_jsonb(NEW) - ARRAY['tenant', 'id', 'head', 'changed_in', 'rung_at', 'rings', 'traceparent']
    FROM public.case_file c WHERE c.tenant = NEW.tenant AND c.id = NEW.id
    ON CONFLICT (tenant, case_id, relation, key, version) DO UPDATE SET was = excluded.was;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION diwan_keep_came(), diwan_keep_fact(), diwan_keep_case() FROM PUBLIC;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['party', 'proposal', 'decision', 'letter', 'fact'] LOOP
        EXECUTE format('DROP TRIGGER %I ON %I', t || '_past', t);
        EXECUTE format('CREATE CONSTRAINT TRIGGER %I AFTER INSERT ON %I DEFERRABLE INITIALLY DEFERRED '
                       'FOR EACH ROW EXECUTE FUNCTION %I()', t || '_past', t,
                       CASE t WHEN 'fact' THEN 'diwan_keep_fact' ELSE 'diwan_keep_came' END);
    END LOOP;
END $$;
DROP TRIGGER case_file_past ON case_file;
DROP TRIGGER case_file_past_moved ON case_file;
CREATE CONSTRAINT TRIGGER case_file_past AFTER INSERT ON case_file
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION diwan_keep_case();
CREATE CONSTRAINT TRIGGER case_file_past_moved AFTER UPDATE ON case_file
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.number, OLD.status, OLD.state, OLD.inbox_last, OLD.inbox_cursor, OLD.kind, OLD.wake_at, OLD.blocked,
           OLD.closed_at) IS DISTINCT FROM (NEW.number, NEW.status, NEW.state, NEW.inbox_last, NEW.inbox_cursor, NEW.kind,
           NEW.wake_at, NEW.blocked, NEW.closed_at))
    EXECUTE FUNCTION diwan_keep_case();
