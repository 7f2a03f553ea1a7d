-- By what a case was decided stays, for the owner too: the text of its procedure, and the terms under which somebody
-- signed (docs/threats.md). A delegation can only be revoked.
CREATE FUNCTION diwan_published_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'procedure_version: what is published stays' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER procedure_version_stays BEFORE UPDATE OR DELETE ON procedure_version
    FOR EACH ROW EXECUTE FUNCTION diwan_published_stays();
CREATE TRIGGER procedure_version_stays_whole BEFORE TRUNCATE ON procedure_version
    FOR EACH STATEMENT EXECUTE FUNCTION diwan_published_stays();

CREATE FUNCTION diwan_delegation_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'revoked_on' = to_jsonb(OLD) - 'revoked_on' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'delegation: it is revoked, not changed' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER delegation_stays BEFORE UPDATE OR DELETE ON delegation
    FOR EACH ROW EXECUTE FUNCTION diwan_delegation_stays();
CREATE TRIGGER delegation_stays_whole BEFORE TRUNCATE ON delegation
    FOR EACH STATEMENT EXECUTE FUNCTION diwan_delegation_stays();
