-- Returns the value that the place has and the milliseconds until it expires, or nothing.
if not value then return false end
if not tag() then return UNREADABLE end
return { value, left }
