package scrub

import "slices"

// Missed reports whether text has a credential that suspicious does not see.
func Missed(text string) bool {
	return !suspicious(text) && (credentialShape().MatchString(text) || basicShape().MatchString(text) ||
		slices.ContainsFunc(licenseShape().FindAllString(text, -1), hasDigit))
}
