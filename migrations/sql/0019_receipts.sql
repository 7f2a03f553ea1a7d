-- Strangers are shown what a chain of `receipts/` says: none begins or goes on without its letter, which is stored first, in
-- the same transaction. So who may write entries but no letters can forge none; the rest is for `diwan ledger reconcile`.
CREATE FUNCTION diwan_receipt_of_letter() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM public.letter l WHERE l.tenant = NEW.tenant AND l.receipt_chain = NEW.chain) THEN
        RAISE EXCEPTION 'entry: a receipt of no letter' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER entry_of_letter AFTER INSERT ON entry FOR EACH ROW
    WHEN (starts_with(NEW.chain, 'receipts/') OR starts_with(NEW.kind, 'letter:receipt:'))
    EXECUTE FUNCTION diwan_receipt_of_letter();
