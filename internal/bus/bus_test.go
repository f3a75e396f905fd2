package bus

import (
	"slices"
	"testing"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

func TestEverySubscriberHasHeardWhenPublishReturns(t *testing.T) {
	t.Parallel()
	var b Bus
	var heard []string
	for _, name := range []string{"a", "b"} {
		b.Subscribe(func(c iot.Change) { heard = append(heard, name+c.ID) })
	}
	b.Publish(iot.Change{Kind: iot.ChangeRole, ID: "1"})
	b.Publish(iot.Change{Kind: iot.ChangeRole, ID: "2"})
	if want := []string{"a1", "b1", "a2", "b2"}; !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
}
