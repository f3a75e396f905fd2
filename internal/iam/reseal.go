package iam

import (
	"context"
	"fmt"
)

const resealPage = 500

// Reseal seals the secret of every access key anew, with the sealer's key of
// now, and returns how many there are. When it has succeeded nothing that is
// kept needs a key that the sealer had before the call.
func (s *Service) Reseal(ctx context.Context) (int, error) {
	s.sealing.Lock()   // whoever sealed with an old key has kept it by now
	s.sealing.Unlock() //nolint:staticcheck // that was all
	n, after := 0, ""
	for {
		page, err := s.store.SealedKeys(ctx, after, resealPage)
		if err != nil {
			return n, err
		}
		list := make([]Resealed, 0, len(page))
		for _, k := range page {
			secret, err := s.sealer.Open(k.Sealed, []byte(k.ID))
			if err != nil {
				return n, fmt.Errorf("open access key %s: %w", k.ID, err)
			}
			sealed, err := s.sealer.Seal(secret, []byte(k.ID))
			if err != nil {
				return n, fmt.Errorf("seal access key %s: %w", k.ID, err)
			}
			list = append(list, Resealed{ID: k.ID, Was: k.Sealed, Is: sealed})
		}
		if err := s.store.ReplaceSealed(ctx, list); err != nil {
			return n, err
		}
		n += len(list)
		if len(page) < resealPage {
			return n, nil
		}
		after = page[len(page)-1].ID
	}
}
