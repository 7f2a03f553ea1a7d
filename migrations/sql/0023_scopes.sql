-- Erasing what belongs to no case by a rule (docs/erasure.md, ADR 0032): the keys of a scope that is no case's are
-- destroyed between two entries on the scope's own chain. A row is one such scope, from the moment on which nobody can
-- use any more what it sealed; never undone, and never a second time.

CREATE TABLE scope_erasure (
    tenant TEXT NOT NULL,
    scope TEXT NOT NULL,
    rule TEXT NOT NULL,
    kept_from date NOT NULL,
    kept_until date,
    started_at timestamptz,
    done_at timestamptz,
    PRIMARY KEY (tenant, scope),
    CONSTRAINT scope_erasure_rule CHECK (CASE rule
        WHEN 'upload' THEN scope LIKE 'staged/_%' AND kept_until IS NULL
        WHEN 'put_away' THEN scope LIKE 'stray/_%' AND kept_until IS NOT NULL
        WHEN 'searches' THEN scope ~ '^searches/[0-9]{4}-[0-9]{2}$' AND kept_until IS NOT NULL
        ELSE false END),
    -- No ministry's file goes below these: half a year, and a year.
    CONSTRAINT scope_erasure_floor CHECK (kept_until - kept_from >= CASE rule WHEN 'searches' THEN 365 ELSE 181 END),
    CONSTRAINT scope_erasure_over CHECK ((started_at AT TIME ZONE 'UTC')::date > kept_until),
    CONSTRAINT scope_erasure_order CHECK (done_at IS NULL OR started_at IS NOT NULL)
);
CREATE INDEX scope_erasure_under_way ON scope_erasure (tenant, scope) WHERE done_at IS NULL;

-- What is looked for by the rule, and the event of a task that was put away with its documents.
CREATE INDEX task_put_away ON task (tenant, completed_at)
    WHERE case_id IS NULL AND kind = 'stray_event' AND status = 'completed';
CREATE INDEX inbox_of_no_case ON inbox (tenant, accepted_at) WHERE case_id IS NULL;
CREATE INDEX document_of_no_case ON document (tenant, event_id) WHERE case_id IS NULL AND event_id <> '';

-- It begins once, when nobody can use any more what is to go, and what is done stays.
CREATE FUNCTION diwan_scope_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.done_at IS NOT NULL OR OLD.started_at IS NOT NULL AND NEW.started_at IS DISTINCT FROM OLD.started_at
            OR (NEW.tenant, NEW.scope, NEW.rule, NEW.kept_from, NEW.kept_until)
                IS DISTINCT FROM (OLD.tenant, OLD.scope, OLD.rule, OLD.kept_from, OLD.kept_until)
        THEN
            RAISE EXCEPTION 'scope_erasure: what has begun stays' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.done_at IS NOT NULL
        OR NEW.rule = 'upload' AND EXISTS (
            SELECT FROM public.document d WHERE d.tenant = NEW.tenant AND 'staged/' || d.id = NEW.scope)
        OR NEW.rule = 'put_away' AND NOT EXISTS (
            SELECT FROM public.task t WHERE t.tenant = NEW.tenant AND t.id = substr(NEW.scope, 7)
                AND t.case_id IS NULL AND t.kind = 'stray_event' AND t.status = 'completed' AND t.outcome <> 'assigned')
    THEN
        RAISE EXCEPTION 'scope_erasure: somebody can still use it' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER scope_erasure_goes BEFORE INSERT OR UPDATE ON scope_erasure
    FOR EACH ROW EXECUTE FUNCTION diwan_scope_goes();

-- At commit: no step without its entry.
CREATE FUNCTION diwan_scope_told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.started_at IS NOT NULL AND NOT EXISTS (
            SELECT FROM public.entry e WHERE e.tenant = NEW.tenant AND e.chain = NEW.scope
                AND e.kind = 'scope:erasure:started')
        OR NEW.done_at IS NOT NULL AND NOT EXISTS (
            SELECT FROM public.entry e WHERE e.tenant = NEW.tenant AND e.chain = NEW.scope
                AND e.kind = 'scope:keys:destroyed')
    THEN
        RAISE EXCEPTION 'scope_erasure: a step without its entry' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER scope_erasure_told AFTER INSERT OR UPDATE ON scope_erasure
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION diwan_scope_told();

ALTER TABLE scope_erasure ENABLE ROW LEVEL SECURITY;
ALTER TABLE scope_erasure FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON scope_erasure USING (tenant = nullif(current_setting('diwan.tenant', true), ''))
    WITH CHECK (tenant = nullif(current_setting('diwan.tenant', true), ''));
GRANT SELECT ON scope_erasure TO diwan_web, diwan_worker, diwan_auditor;
GRANT INSERT ON scope_erasure TO diwan_worker;
GRANT UPDATE (started_at, done_at) ON scope_erasure TO diwan_worker;

-- An upload goes with a note for the case worker, who has its keys destroyed: the relay may not.
CREATE OR REPLACE FUNCTION diwan_remove_upload(of_tenant text, upload text, before timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    address text;
    came timestamptz;
    callers text := coalesce(current_setting('diwan.tenant', true), '');
BEGIN
    PERFORM set_config('diwan.tenant', of_tenant, true);
    DELETE FROM public.document d
        WHERE d.tenant = of_tenant AND d.id = upload AND d.case_id IS NULL AND d.event_id = '' AND d.received_at < before
        RETURNING d.blob, d.received_at INTO address, came;
    DELETE FROM public.blob b WHERE b.tenant = of_tenant AND b.hash = address;
    IF address IS NOT NULL THEN
        INSERT INTO public.scope_erasure (tenant, scope, rule, kept_from)
            VALUES (of_tenant, 'staged/' || upload, 'upload', (came AT TIME ZONE 'UTC')::date)
            ON CONFLICT (tenant, scope) DO NOTHING;
    END IF;
    PERFORM set_config('diwan.tenant', callers, true);
    RETURN address IS NOT NULL;
END $$;
