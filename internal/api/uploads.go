package api

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// Ledger is the ledger of uploads.
type Ledger interface {
	List(ctx context.Context, q uploads.Query, token string) (page []uploads.Record, next string, err error)
}

// ListUploadsOutput is a page of the ledger, the newest first. NextToken, where
// it is set, is the token of the next one.
type ListUploadsOutput struct {
	Uploads   []uploads.Record `json:"uploads"`
	NextToken string           `json:"nextToken,omitempty"`
}

// listUploads serves GET /_sekisho/uploads?thing=&status=&since=&until=&limit=&token=.
func listUploads(l Ledger) func(context.Context, *Call, *struct{}) (*ListUploadsOutput, error) {
	return func(ctx context.Context, c *Call, _ *struct{}) (*ListUploadsOutput, error) {
		values := c.HTTP.URL.Query()
		q, err := uploadsQuery(values)
		if err != nil {
			return nil, err
		}
		page, next, err := l.List(ctx, q, values.Get("token"))
		if err != nil {
			return nil, err
		}
		if page == nil {
			page = []uploads.Record{}
		}
		return &ListUploadsOutput{Uploads: page, NextToken: next}, nil
	}
}

func uploadsQuery(values url.Values) (q uploads.Query, err error) {
	q.Thing, q.Status = values.Get("thing"), uploads.Status(values.Get("status"))
	for name, t := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		v := values.Get(name)
		if v == "" {
			continue
		}
		if *t, err = time.Parse(time.RFC3339, v); err != nil {
			return q, iot.Errorf(iot.KindInvalid, name, "%s is not a time such as 2006-01-02T15:04:05Z", name)
		}
	}
	if v := values.Get("limit"); v != "" {
		if q.Limit, err = strconv.Atoi(v); err != nil {
			return q, iot.Errorf(iot.KindInvalid, "limit", "limit is not a number")
		}
	}
	return q, nil
}
