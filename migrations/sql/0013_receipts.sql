-- What lets anybody check a letter by the code on it (docs/receipts.md). Letters of before have neither.
ALTER TABLE letter
    ADD COLUMN receipt_chain TEXT,
    ADD COLUMN receipt_sealed BYTEA,
    ADD CONSTRAINT letter_receipt_whole CHECK ((receipt_chain IS NULL) = (receipt_sealed IS NULL));
-- Of all ministries: who has a letter in hand and asks does not say, and need not know, which ministry's it is.
CREATE UNIQUE INDEX letter_receipt ON letter (receipt_chain);

-- Who names a chain, which nobody can who has not the code, learns whose letter it is: nothing else, and of no other. The
-- owner, too, is held by row security, but within this function.
CREATE POLICY of_owner ON letter FOR SELECT TO CURRENT_USER
    USING (receipt_chain = nullif(current_setting('diwan.receipt', true), ''));
CREATE FUNCTION diwan_receipt(chain text) RETURNS TABLE (tenant text, case_id text, letter text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('diwan.receipt', chain, true);
    RETURN QUERY SELECT l.tenant, l.case_id, l.id FROM public.letter l WHERE l.receipt_chain = chain;
    PERFORM set_config('diwan.receipt', '', true);
END $$;
REVOKE ALL ON FUNCTION diwan_receipt(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION diwan_receipt(text) TO diwan_web;
