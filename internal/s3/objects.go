package s3

import (
	"context"

	"github.com/sekisho-iot/sekisho/internal/iot"
)

// What follows checks what holds with every engine, and hands over to it.

// PutObject stores one whole object.
func (s *Service) PutObject(ctx context.Context, in *PutInput) (*Info, error) {
	if err := ValidKey(in.Key); err != nil {
		return nil, err
	}
	if err := in.Headers.validate(); err != nil {
		return nil, err
	}
	if err := in.validate(); err != nil {
		return nil, err
	}
	info, err := s.cfg.Engine.Put(ctx, in)
	s.failed(in.Origin, in.Bucket, in.Key, in.Size, err)
	return info, err
}

// failed tells of an upload of a device that came to nothing.
func (s *Service) failed(o *Origin, b *Bucket, key string, size int64, err error) {
	if o != nil && err != nil && s.cfg.Failed != nil {
		s.cfg.Failed(&Failure{Origin: *o, Bucket: b.Name, Key: key, Size: size, Err: err})
	}
}

func (c *Content) validate() error {
	if c.Size > MaxPut {
		return TooLarge()
	}
	if c.Want != "" && !c.Algorithm.ValidValue(c.Want) {
		return InvalidChecksum(c.Algorithm)
	}
	return nil
}

// GetObject returns an object, a part of it or its description. The caller closes its body.
func (s *Service) GetObject(ctx context.Context, in *GetInput) (*Object, error) {
	if err := ValidKey(in.Key); err != nil {
		return nil, err
	}
	if in.PartNumber < 0 || in.PartNumber > MaxPart {
		return nil, invalidPartNumber()
	}
	return s.cfg.Engine.Get(ctx, in)
}

// DeleteObject removes an object, or finds that it is gone already.
func (s *Service) DeleteObject(ctx context.Context, in *DeleteInput) error {
	if err := ValidKey(in.Key); err != nil {
		return err
	}
	return s.cfg.Engine.Delete(ctx, in)
}

// CopyObject makes an object of another one's bytes.
func (s *Service) CopyObject(ctx context.Context, in *CopyInput) (*Info, error) {
	if err := ValidKey(in.Key); err != nil {
		return nil, err
	}
	if err := ValidKey(in.FromKey); err != nil {
		return nil, err
	}
	if in.Headers != nil {
		if err := in.Headers.validate(); err != nil {
			return nil, err
		}
	}
	return s.cfg.Engine.Copy(ctx, in)
}

// ListObjects returns a page of keys.
func (s *Service) ListObjects(ctx context.Context, in *ListInput) (*ListPage, error) {
	in.Max = min(in.Max, MaxList)
	if in.Max <= 0 {
		return &ListPage{}, nil
	}
	return s.cfg.Engine.List(ctx, in)
}

// CreateUpload begins a multipart upload.
func (s *Service) CreateUpload(ctx context.Context, in *CreateUploadInput) (*Upload, error) {
	if err := ValidKey(in.Key); err != nil {
		return nil, err
	}
	if err := in.Headers.validate(); err != nil {
		return nil, err
	}
	if err := in.Algorithm.CheckType(in.ChecksumType); err != nil {
		return nil, err
	}
	if in.ChecksumType == "" {
		in.ChecksumType = in.Algorithm.DefaultType()
	}
	return s.cfg.Engine.CreateUpload(ctx, in)
}

// UploadPart stores one part.
func (s *Service) UploadPart(ctx context.Context, in *PutPartInput) (*Part, error) {
	if in.Number < 1 || in.Number > MaxPart {
		return nil, invalidPartNumber()
	}
	if err := in.validate(); err != nil {
		return nil, err
	}
	return s.cfg.Engine.PutPart(ctx, in)
}

// CompleteUpload turns an upload into the object. Asked again for an upload
// that is the object by now, it answers the same.
func (s *Service) CompleteUpload(ctx context.Context, in *CompleteInput) (*Info, error) {
	if len(in.Parts) == 0 {
		return nil, iot.Errorf(iot.KindInvalid, "xml", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	last := 0
	for _, p := range in.Parts {
		if p.Number < 1 || p.Number > MaxPart {
			return nil, invalidPartNumber()
		}
		if p.Number <= last {
			return nil, iot.Errorf(iot.KindInvalid, "part-order",
				"The list of parts was not in ascending order. Parts must be ordered by part number.")
		}
		last = p.Number
	}
	info, err := s.cfg.Engine.CompleteUpload(ctx, in)
	s.failed(in.Origin, in.Bucket, in.Key, in.Size, err)
	return info, err
}

// AbortUpload gives an upload up and frees what it holds. from is nil but for a device.
func (s *Service) AbortUpload(ctx context.Context, ref UploadRef, from *Origin) error {
	err := s.cfg.Engine.AbortUpload(ctx, ref)
	if err == nil && from != nil && s.cfg.Failed != nil {
		s.cfg.Failed(&Failure{Origin: *from, Bucket: ref.Bucket.Name, Key: ref.Key, Size: -1})
	}
	return err
}

// ListParts returns a page of an upload's parts.
func (s *Service) ListParts(ctx context.Context, in *ListPartsInput) (*PartsPage, error) {
	in.Max = max(0, min(in.Max, MaxList))
	return s.cfg.Engine.ListParts(ctx, in)
}

// ListUploads returns a page of the bucket's uploads.
func (s *Service) ListUploads(ctx context.Context, in *ListUploadsInput) (*UploadsPage, error) {
	in.Max = min(in.Max, MaxList)
	if in.Max <= 0 {
		return &UploadsPage{}, nil
	}
	return s.cfg.Engine.ListUploads(ctx, in)
}

// TooLarge is the answer to an object over the size limit.
func TooLarge() error {
	return iot.Errorf(iot.KindTooLarge, "object", "Your proposed upload exceeds the maximum allowed object size")
}

// InvalidPart is the answer to a listed part that is not there as listed.
func InvalidPart() error {
	return iot.Errorf(iot.KindInvalid, "part", "One or more of the specified parts could not be found.  "+
		"The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.")
}

// TooSmall is the answer to a part, not the last, under the size limit.
func TooSmall() error {
	return iot.Errorf(iot.KindTooSmall, "part", "Your proposed upload is smaller than the minimum allowed size")
}

// InvalidChecksum is the answer to a checksum that cannot be one.
func InvalidChecksum(a Algorithm) error {
	return iot.Errorf(iot.KindInvalid, "request", "Value for x-amz-checksum-%s header is invalid.", a.lower())
}

// BadDigest is the answer to bytes that do not have the checksum that they came with.
func BadDigest(what string) error {
	return iot.Errorf(iot.KindInvalid, "digest-mismatch", "The %s you specified did not match what we received.", what)
}

func invalidPartNumber() error {
	return iot.Errorf(iot.KindInvalid, "argument", "Part number must be an integer between 1 and 10000, inclusive")
}
