-- What makes a change without a ledger entry, and an entry without a change, impossible to commit.
-- docs/adr/0002-ledger-entry-in-the-transaction.md says why; tests/store/test_guards.py breaks each.

-- A case starts at version 1 and goes up by one, once a transaction. Within the transaction that made a version
-- the row may be completed (same version, same head). The relay's columns are no part of the version.
CREATE FUNCTION diwan_case_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    probe public.case_file;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.version <> 1 THEN
            RAISE EXCEPTION 'case_file: a case starts at version 1' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        NEW.changed_in := pg_current_xact_id()::text;
        RETURN NEW;
    END IF;
    -- A pool worker adds an entry, and so a version; where the case stands is not its to say. The function runs with
    -- its caller's rights, so current_user is the role that updates.
    IF current_user = 'diwan_pool' THEN
        probe := NEW;
        probe.version := OLD.version;
        probe.head := OLD.head;
        probe.changed_in := OLD.changed_in;
        IF probe IS DISTINCT FROM OLD THEN
            RAISE EXCEPTION 'case_file: a pool worker changes only the version of a case'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END IF;
    probe := NEW;
    probe.rung_at := OLD.rung_at;
    probe.rings := OLD.rings;
    probe.changed_in := OLD.changed_in;
    IF probe IS NOT DISTINCT FROM OLD THEN
        NEW.changed_in := OLD.changed_in;
        RETURN NEW;
    END IF;
    IF NEW.tenant <> OLD.tenant OR NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'case_file: a case keeps its tenant and id' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.changed_in = pg_current_xact_id()::text THEN
        IF NEW.version <> OLD.version OR NEW.head <> OLD.head THEN
            RAISE EXCEPTION 'case_file: one version a transaction'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'case_file: a change raises the version by one'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    NEW.changed_in := pg_current_xact_id()::text;
    RETURN NEW;
END $$;

CREATE TRIGGER case_file_version BEFORE INSERT OR UPDATE ON case_file
    FOR EACH ROW EXECUTE FUNCTION diwan_case_version();

-- At commit: a case's child may differ only if this transaction made a version of the case.
CREATE FUNCTION diwan_child_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_case text;
    of_tenant text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        of_tenant := OLD.tenant;
        of_case := OLD.case_id;
    ELSE
        of_tenant := NEW.tenant;
        of_case := NEW.case_id;
        IF TG_OP = 'UPDATE' AND OLD.case_id IS NOT NULL AND OLD.case_id IS DISTINCT FROM NEW.case_id THEN
            RAISE EXCEPTION '%: a row keeps its case', TG_TABLE_NAME
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    IF of_case IS NOT NULL AND NOT EXISTS (
        SELECT FROM public.case_file c
        WHERE c.tenant = of_tenant AND c.id = of_case AND c.changed_in = pg_current_xact_id()::text
    ) THEN
        RAISE EXCEPTION '%: a change without a new version of its case', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    child text;
BEGIN
    FOREACH child IN ARRAY ARRAY[
        'party', 'inbox', 'document', 'page', 'fact', 'agent_run', 'tool_call', 'proposal', 'task', 'task_act',
        'decision', 'letter', 'notification'
    ] LOOP
        EXECUTE format(
            'CREATE CONSTRAINT TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %I DEFERRABLE INITIALLY DEFERRED '
            'FOR EACH ROW EXECUTE FUNCTION diwan_child_changed()', child || '_of_version', child);
    END LOOP;
END $$;

-- A request that is only being sent changes nothing of the case: its answer does.
CREATE CONSTRAINT TRIGGER model_call_of_version AFTER UPDATE OR DELETE ON model_call
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION diwan_child_changed();
CREATE CONSTRAINT TRIGGER model_call_answer_of_version AFTER INSERT ON model_call
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status <> 'sent' OR NEW.used)
    EXECUTE FUNCTION diwan_child_changed();

-- At commit: an entry on a case's chain is that of a version made in this transaction. Chains outside cases have
-- a slash in their name, which no case id has.
CREATE FUNCTION diwan_entry_of_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.chain LIKE '%/%' THEN
        IF current_user = 'diwan_pool' THEN
            RAISE EXCEPTION 'entry: a pool worker writes on chains of cases only'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NULL;
    END IF;
    IF NOT EXISTS (
        SELECT FROM public.case_file c
        WHERE c.tenant = NEW.tenant AND c.id = NEW.chain AND c.version >= NEW.seq
            AND c.changed_in = pg_current_xact_id()::text
    ) THEN
        RAISE EXCEPTION 'entry: an entry without a change of its case'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER entry_of_change AFTER INSERT ON entry DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION diwan_entry_of_change();

-- What stands on the ledger stays, for the owner too.
CREATE FUNCTION diwan_entry_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entry: what is written stays' USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER entry_stays BEFORE UPDATE OR DELETE ON entry FOR EACH ROW EXECUTE FUNCTION diwan_entry_stays();
CREATE TRIGGER entry_stays_whole BEFORE TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION diwan_entry_stays();
