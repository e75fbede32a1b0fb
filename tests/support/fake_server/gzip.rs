//! Builds a gzip bomb: a few bytes that decompress to many zeros.
//!
//! The package has no direct use for a compressor, so the stream is written by hand. One deflate
//! block with the fixed Huffman codes (RFC 1951, 3.2.6) is enough: a zero, then copies of 258 zeros
//! in thirteen bits each, a ratio of 159 to one. The checksum is correct, so that only the size is
//! wrong.

const MAX_MATCH_LENGTH: usize = 258;

/// `size` zeros (at least one), compressed.
pub fn gzipped_zeros(size: usize) -> Vec<u8> {
    let rest = size.max(1) - 1;
    let mut bits = BitWriter::default();
    bits.push(0b1, 1); // the last block…
    bits.push(0b10, 2); // …with the fixed codes (0b01, least significant bit first)
    for _ in 0..=rest % MAX_MATCH_LENGTH {
        bits.push(0b0011_0000, 8); // literal 0
    }
    for _ in 0..rest / MAX_MATCH_LENGTH {
        bits.push(0b1100_0101, 8); // copy 258 bytes…
        bits.push(0, 5); // …from a distance of one byte
    }
    bits.push(0, 7); // end of the block

    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.extend(bits.finish());
    gzip.extend(crc_of_zeros(size.max(1)).to_le_bytes());
    let length = u32::try_from(size.max(1) & 0xffff_ffff).expect("masked to 32 bits");
    gzip.extend(length.to_le_bytes());
    gzip
}

/// Writes bits in deflate's order: Huffman codes start with their most significant bit, and bytes
/// are filled from their least significant bit.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    byte: u8,
    bits_used: u32,
}

impl BitWriter {
    fn push(&mut self, code: u32, length: u32) {
        for bit in (0..length).rev() {
            self.byte |= u8::from(code >> bit & 1 == 1) << self.bits_used;
            self.bits_used += 1;
            if self.bits_used == 8 {
                self.bytes.push(self.byte);
                (self.byte, self.bits_used) = (0, 0);
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.push(self.byte);
        self.bytes
    }
}

/// The CRC-32 of `size` zero bytes: the initial value times x^(8·size), by repeated squaring.
fn crc_of_zeros(size: usize) -> u32 {
    const ONE: u32 = 1 << 31;
    let mut power = ONE >> 8; // x^8: one zero byte
    let mut crc = u32::MAX;
    let mut remaining = size;
    while remaining > 0 {
        if remaining & 1 == 1 {
            crc = multiply_mod_crc(crc, power);
        }
        power = multiply_mod_crc(power, power);
        remaining >>= 1;
    }
    !crc
}

/// The product of two polynomials modulo the CRC-32 polynomial; the highest bit is x^0.
fn multiply_mod_crc(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for bit in (0..32).rev() {
        if a >> bit & 1 == 1 {
            product ^= b;
        }
        b = if b & 1 == 1 { b >> 1 ^ 0xedb8_8320 } else { b >> 1 };
    }
    product
}
