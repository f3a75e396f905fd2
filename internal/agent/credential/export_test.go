package credential

import "context"

// Lock takes the lock as another process would.
func (c *Cache) Lock(ctx context.Context) (unlock func() error, err error) { return c.lock(ctx) }
