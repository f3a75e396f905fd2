package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sekisho-iot/sekisho/internal/iot"
	"github.com/sekisho-iot/sekisho/internal/s3"
	"github.com/sekisho-iot/sekisho/internal/sts"
	"github.com/sekisho-iot/sekisho/internal/uploads"
)

// Uploads is what the operator sees and sets of devices' uploads.
type Uploads struct {
	Ledger  *uploads.Ledger
	Door    uploads.DoorStore
	Aliases *sts.RoleAliases
	S3      *s3.Service
}

// operations works with a nil u, for listing.
func (u *Uploads) operations() []Operation {
	door := ownPath + "uploads/door"
	return []Operation{
		at(http.MethodGet, ownPath+"uploads", op("ListUploads", "sekisho:ListUploads", nil, u.list)),
		at(http.MethodGet, door, op("GetUploadDoor", "sekisho:GetUploadDoor", nil, u.getDoor)),
		at(http.MethodPut, door, op("SetUploadDoor", "sekisho:SetUploadDoor", nil, u.setDoor)),
		at(http.MethodDelete, door, op("DeleteUploadDoor", "sekisho:SetUploadDoor", nil, u.deleteDoor)),
	}
}

func (u *Uploads) getDoor(ctx context.Context, _ *Call, _ *struct{}) (*uploads.DoorSetting, error) {
	d, err := u.Door.Door(ctx)
	if err == nil && d == (uploads.DoorSetting{}) {
		err = iot.Errorf(iot.KindNotFound, "upload-door", "uploads by MQTT are not set up")
	}
	return &d, err
}

// setDoor hands the role behind the alias over to every device that may use the
// alias: who does so has to be allowed to pass it (security rule 8).
func (u *Uploads) setDoor(ctx context.Context, c *Call, in *uploads.DoorSetting) (*uploads.DoorSetting, error) {
	if in.RoleAlias == "" || in.Bucket == "" {
		return nil, iot.Errorf(iot.KindInvalid, "upload-door", "roleAlias and bucket are needed")
	}
	alias, err := u.Aliases.Describe(ctx, in.RoleAlias)
	if err != nil {
		return nil, err
	}
	handed := passRole{"credentials.iot.amazonaws.com", string(u.Aliases.ARN(alias.Name))}
	if err := c.Authorize(ctx, "iam:PassRole", alias.RoleARN, handed); err != nil {
		return nil, err
	}
	if _, err := u.S3.Bucket(ctx, in.Bucket); err != nil {
		return nil, err
	}
	return in, u.Door.SetDoor(ctx, *in)
}

func (u *Uploads) deleteDoor(ctx context.Context, _ *Call, _ *struct{}) (*struct{}, error) {
	return nil, u.Door.SetDoor(ctx, uploads.DoorSetting{})
}

// ListUploadsOutput is a page of the ledger, the newest first. NextToken, where
// it is set, is the token of the next one.
type ListUploadsOutput struct {
	Uploads   []uploads.Record `json:"uploads"`
	NextToken string           `json:"nextToken,omitempty"`
}

// list serves GET /_sekisho/uploads?thing=&status=&since=&until=&limit=&token=.
func (u *Uploads) list(ctx context.Context, c *Call, _ *struct{}) (*ListUploadsOutput, error) {
	values := c.HTTP.URL.Query()
	q, err := uploadsQuery(values)
	if err != nil {
		return nil, err
	}
	page, next, err := u.Ledger.List(ctx, q, values.Get("token"))
	if err != nil {
		return nil, err
	}
	if page == nil {
		page = []uploads.Record{}
	}
	return &ListUploadsOutput{Uploads: page, NextToken: next}, nil
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
