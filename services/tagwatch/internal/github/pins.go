package github

import (
	_ "github.com/bradleyfalzon/ghinstallation/v2"
	_ "github.com/golang-jwt/jwt/v4"
	_ "golang.org/x/time/rate"
)
