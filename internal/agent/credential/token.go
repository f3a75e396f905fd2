package credential

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// TokenFile makes a new token and leaves it in a file that only its owner may
// read, for AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE. SDKs read the file with every
// renewal, so a new token is theirs by itself.
func TokenFile(path string, random io.Reader) (token string, err error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("write the token file: %w", err)
	}
	token = hex.EncodeToString(b)
	if err := replace(path, []byte(token)); err != nil { // no line end: it would be part of the header
		return "", fmt.Errorf("write the token file: %w", err)
	}
	return token, nil
}
