package pki

import (
	"strconv"
	"strings"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// maxPage is the most that a listing returns at once.
const maxPage = 250

// page is a part of a listing by creation.
type page struct {
	scope string
	limit int
	at    time.Time // the place to continue after; zero for the beginning
	after iot.CertificateID
}

func parsePage(what string, ascending bool, limit int, marker string) (page, error) {
	if limit < 0 || limit > maxPage {
		return page{}, iot.Errorf(iot.KindInvalid, "page", "The page size must be between 1 and %d", maxPage)
	}
	p := page{scope: what + " " + strconv.FormatBool(ascending), limit: limit}
	after, err := iot.ParsePageToken(p.scope, marker)
	if err != nil {
		return page{}, err
	}
	ms, id, found := strings.Cut(after, " ")
	if found {
		n, err := strconv.ParseInt(ms, 10, 64)
		if err != nil {
			return page{}, iot.Errorf(iot.KindInvalid, "page-token", "Invalid pagination token")
		}
		p.at, p.after = time.UnixMilli(n), iot.CertificateID(id)
	}
	return p, nil
}

// next is the marker of the page that begins after the last of this one.
func (p *page) next(at time.Time, id iot.CertificateID) string {
	return iot.PageToken(p.scope, strconv.FormatInt(at.UnixMilli(), 10)+" "+string(id))
}

// listRecords lists certificates; read returns one more than the page holds
// where there are more.
func listRecords(what string, ascending bool, limit int, marker string, read func(*page) ([]Record, error)) ([]Record, string, error) {
	if limit == 0 {
		limit = maxPage
	}
	p, err := parsePage(what, ascending, limit, marker)
	if err != nil {
		return nil, "", err
	}
	list, err := read(&p)
	if err != nil || len(list) <= p.limit {
		return list, "", err
	}
	last := &list[p.limit-1]
	return list[:p.limit], p.next(last.CreatedAt, last.ID), nil
}
