-- With which code an owner claimed a module, and whose it was when it was given back: the same code claims it again, and
-- who had it finds it as it was.
ALTER TABLE modules ADD COLUMN claimed_with TEXT;
ALTER TABLE modules ADD COLUMN last_owner TEXT;
