//! Decimals and dates as text. Pure.

/// Bytes of a decimal without those that only repeat its sign: 38 digits fit.
const DECIMAL_BYTES_MAX: usize = 16;

/// A decimal of `scale` digits behind the point, whose digits are a two's complement number, the highest byte first.
pub fn decimal(bytes: &[u8], scale: usize) -> Result<String, String> {
    let sign: u8 = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xff } else { 0 };
    let extra = bytes.iter().take_while(|byte| **byte == sign).count();
    let needed = &bytes[extra..];
    let mut value = [sign; DECIMAL_BYTES_MAX];
    let Some(start) = DECIMAL_BYTES_MAX.checked_sub(needed.len()) else {
        return Err(format!("is a decimal of more than {DECIMAL_BYTES_MAX} bytes"));
    };
    value[start..].copy_from_slice(needed);
    let value = i128::from_be_bytes(value);
    if (value < 0) != (sign == 0xff) {
        return Err(format!("is a decimal of more than {DECIMAL_BYTES_MAX} bytes"));
    }
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let minus = if value < 0 { "-" } else { "" };
    Ok(if scale == 0 { format!("{minus}{whole}") } else { format!("{minus}{whole}.{fraction}") })
}

/// A day, counted from 1970-01-01, by the Gregorian calendar: `2024-02-29`.
pub fn date(days: i32) -> String {
    // Counted from 0000-03-01, in eras of 400 years: a leap day is the last of its year.
    let days = i64::from(days) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_a_point_where_the_scale_says() {
        let text = |value: i128, scale| decimal(&value.to_be_bytes(), scale).unwrap();
        assert_eq!([text(12345, 2), text(-12345, 2), text(5, 2), text(-5, 3)], ["123.45", "-123.45", "0.05", "-0.005"]);
        assert_eq!([text(0, 0), text(-7, 0), text(0, 2)], ["0", "-7", "0.00"]);
        assert_eq!(text(i128::MIN, 38), "-1.70141183460469231731687303715884105728");
        assert_eq!(decimal(b"", 1).unwrap(), "0.0");
        assert_eq!(decimal(b"\xff", 0).unwrap(), "-1");
        assert_eq!(decimal(b"\x80", 0).unwrap(), "-128");
        assert_eq!(decimal(b"\0\x80", 0).unwrap(), "128");
        assert_eq!(decimal(&[&[0xff; 20][..], &[0x85]].concat(), 1).unwrap(), "-12.3");
        for long in [[1; 17], [0x80; 17]] {
            assert!(decimal(&long, 0).unwrap_err().contains("16 bytes"));
        }
        // Of 16 bytes without its sign, so that 17 would be needed with it.
        assert!(decimal(&[&[0][..], &[0x80; 16]].concat(), 0).is_err());
    }

    #[test]
    fn days_are_dates() {
        let known = [(0, "1970-01-01"), (-1, "1969-12-31"), (11_016, "2000-02-29"), (19_782, "2024-02-29")];
        for (days, text) in
            known.into_iter().chain([(47_540, "2100-02-28"), (47_541, "2100-03-01"), (-719_468, "0000-03-01")])
        {
            assert_eq!(date(days), text);
        }
        // Every day of 400 years comes after the one before, in text too.
        let all: Vec<String> = (0..146_097).map(date).collect();
        assert!(all.windows(2).all(|two| two[0] < two[1]));
        assert_eq!(all[146_096], "2369-12-31");
        assert_eq!([date(i32::MIN), date(i32::MAX)], ["-5877641-06-23", "5881580-07-11"]);
    }
}
