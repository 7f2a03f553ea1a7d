-- That an entry names the one before it, that a case's row names its last entry, and that a child comes with a version, are
-- checked by the triggers that write at that row anyway. What they look for is never changed or deleted (entry_stays), so
-- no lock on it is needed: the foreign keys wrote one to each entry, and needed an index of every hash. What is demanded is
-- the same as before (0001_guards.sql); docs/adr/0002-ledger-entry-in-the-transaction.md has why, and what it saved.

-- It waits for its place in the tree if it names the one before it, and is that of a version made in this transaction where
-- it is on a case's chain (no case's id has a slash). Not deferred: an entry comes with its version, or after it. Owner's
-- rights: who may write an entry need not be allowed to read those before.
CREATE FUNCTION diwan_entry_follows() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed CONSTANT boolean := strpos(NEW.chain, '/') > 0 OR EXISTS (
        SELECT FROM public.case_file c
        WHERE c.tenant = NEW.tenant AND c.id = NEW.chain AND c.version >= NEW.seq
            AND c.changed_in = pg_current_xact_id()::text
    );
BEGIN
    IF NOT changed THEN
        RAISE EXCEPTION 'entry: an entry without a change of its case' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO public.ledger_pending (tenant, chain, seq, hash)
    SELECT NEW.tenant, NEW.chain, NEW.seq, NEW.hash
    WHERE NEW.seq = 1 OR EXISTS (
        SELECT FROM public.entry e
        WHERE e.tenant = NEW.tenant AND e.chain = NEW.chain AND e.seq = NEW.prev_seq AND e.hash = NEW.prev_hash
    );
    IF NOT FOUND THEN
        RAISE EXCEPTION 'entry: it does not name the one before it' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION diwan_pool_on_cases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entry: a pool worker writes on chains of cases only' USING ERRCODE = 'insufficient_privilege';
END $$;

-- As in 0002_clock.sql, the ordinary way first: copies of a case's row are made for others alone. That a pool worker sets
-- nothing but version, head and their instant is a matter of its rights now.
CREATE OR REPLACE FUNCTION diwan_case_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    this CONSTANT text := pg_current_xact_id()::text;
    probe public.case_file;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.version <> 1 THEN
            RAISE EXCEPTION 'case_file: a case starts at version 1' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        NEW.changed_in := this;
        RETURN NEW;
    END IF;
    IF NEW.tenant <> OLD.tenant OR NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'case_file: a case keeps its tenant and id' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.version = OLD.version + 1 AND OLD.changed_in IS DISTINCT FROM this THEN
        NEW.changed_in := this;
        RETURN NEW;
    END IF;
    probe := NEW;
    probe.rung_at := OLD.rung_at;
    probe.rings := OLD.rings;
    probe.changed_in := OLD.changed_in;
    IF probe IS NOT DISTINCT FROM OLD THEN
        NEW.changed_in := OLD.changed_in;
        RETURN NEW;
    END IF;
    IF OLD.changed_in IS DISTINCT FROM this THEN
        RAISE EXCEPTION 'case_file: a change raises the version by one'
            USING ERRCODE = 'integrity_constraint_violation';
    ELSIF NEW.version <> OLD.version OR NEW.head <> OLD.head THEN
        RAISE EXCEPTION 'case_file: one version a transaction'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    NEW.changed_in := this;
    RETURN NEW;
END $$;
REVOKE UPDATE ON case_file FROM diwan_pool;
GRANT UPDATE (version, head, changed_at) ON case_file TO diwan_pool;

-- At commit, of a case whose version is another, or that stands otherwise. What a case keeps all its life is not copied.
CREATE FUNCTION diwan_case_headed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM public.entry e
    WHERE e.tenant = NEW.tenant AND e.chain = NEW.id AND e.seq = NEW.version AND e.hash = NEW.head;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'case_file: its version is not that of an entry' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION diwan_keep_case() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
    SELECT NEW.tenant, NEW.id, NEW.version, 'case_file', '', jsonb_build_object(
        'number', NEW.number, 'status', NEW.status, 'state', NEW.state, 'inbox_last', NEW.inbox_last,
        'inbox_cursor', NEW.inbox_cursor, 'kind', NEW.kind, 'wake_at', NEW.wake_at, 'blocked', NEW.blocked,
        'closed_at', NEW.closed_at)
    FROM public.entry e
    WHERE e.tenant = NEW.tenant AND e.chain = NEW.id AND e.seq = NEW.version AND e.hash = NEW.head
    ON CONFLICT (tenant, case_id, relation, key, version) DO UPDATE SET was = excluded.was;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'case_file: its version is not that of an entry' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

-- At commit, of a row that came: as diwan_child_changed for those that change or go.
CREATE OR REPLACE FUNCTION diwan_keep_came() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
    SELECT c.tenant, c.id, c.version, TG_TABLE_NAME, NEW.id, '{}'
    FROM public.case_file c
    WHERE c.tenant = NEW.tenant AND c.id = NEW.case_id AND c.changed_in = pg_current_xact_id()::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: a change without a new version of its case', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION diwan_keep_fact() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.case_past (tenant, case_id, version, relation, key, was)
    SELECT c.tenant, c.id, c.version, 'fact', NEW.name || '/' || NEW.provenance || '/' || NEW.revision, '{}'
    FROM public.case_file c
    WHERE c.tenant = NEW.tenant AND c.id = NEW.case_id AND c.changed_in = pg_current_xact_id()::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'fact: a change without a new version of its case'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION diwan_entry_follows(), diwan_case_headed(), diwan_pool_on_cases() FROM PUBLIC;

DROP TRIGGER entry_pending ON entry;
CREATE TRIGGER entry_follows AFTER INSERT ON entry FOR EACH ROW EXECUTE FUNCTION diwan_entry_follows();
CREATE TRIGGER entry_of_pool AFTER INSERT ON entry FOR EACH ROW
    WHEN (current_user = 'diwan_pool' AND strpos(NEW.chain, '/') > 0) EXECUTE FUNCTION diwan_pool_on_cases();
DROP TRIGGER entry_of_change ON entry;
DROP FUNCTION diwan_entry_pending(), diwan_entry_of_change();

DROP TRIGGER case_file_past_moved ON case_file;
CREATE CONSTRAINT TRIGGER case_file_moved AFTER UPDATE ON case_file
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.number, OLD.status, OLD.state, OLD.inbox_last, OLD.inbox_cursor, OLD.kind, OLD.wake_at, OLD.blocked,
           OLD.closed_at) IS DISTINCT FROM (NEW.number, NEW.status, NEW.state, NEW.inbox_last, NEW.inbox_cursor, NEW.kind,
           NEW.wake_at, NEW.blocked, NEW.closed_at))
    EXECUTE FUNCTION diwan_keep_case();
CREATE CONSTRAINT TRIGGER case_file_headed AFTER UPDATE ON case_file
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((OLD.version, OLD.head) IS DISTINCT FROM (NEW.version, NEW.head)
          AND (OLD.number, OLD.status, OLD.state, OLD.inbox_last, OLD.inbox_cursor, OLD.kind, OLD.wake_at, OLD.blocked,
               OLD.closed_at) IS NOT DISTINCT FROM (NEW.number, NEW.status, NEW.state, NEW.inbox_last, NEW.inbox_cursor,
               NEW.kind, NEW.wake_at, NEW.blocked, NEW.closed_at))
    EXECUTE FUNCTION diwan_case_headed();

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['party', 'proposal', 'decision', 'letter', 'fact'] LOOP
        EXECUTE format('DROP TRIGGER %I ON %I', t || '_of_version', t);
        EXECUTE format('CREATE CONSTRAINT TRIGGER %I AFTER UPDATE OR DELETE ON %I DEFERRABLE INITIALLY DEFERRED '
                       'FOR EACH ROW EXECUTE FUNCTION diwan_child_changed()', t || '_of_version', t);
    END LOOP;
END $$;

ALTER TABLE case_file DROP CONSTRAINT case_file_head;
ALTER TABLE entry DROP CONSTRAINT entry_tenant_chain_prev_seq_prev_hash_fkey;
ALTER TABLE entry DROP CONSTRAINT entry_tenant_chain_seq_hash_key;
